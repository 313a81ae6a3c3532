//! What FEAT lists (RFC 2389 §3).
//!
//! A hint and no more: servers list what they do not do and do what they do not list. What is not listed is tried
//! where it matters, and what is listed may still be refused.

use super::reply::{Reply, ReplyClass};

/// A longer option than this is not sent: no server has so many facts, and a command has to fit into a line.
const FACTS_OPTION_LEN_MAX: usize = 400;

/// The features of one answer to FEAT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    features: Vec<Feature>,
    mlst_facts: Vec<MlstFact>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Feature {
    /// Upper case.
    name: String,
    /// What follows it, as sent.
    parameters: String,
}

/// A fact that MLSD and MLST can tell (RFC 3659 §7.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlstFact {
    /// Lower case: `modify`, `unix.mode`.
    pub name: String,
    /// Whether it is told without asking (marked `*`).
    pub is_enabled: bool,
}

impl Features {
    /// Reads an answer to FEAT. A refusal, or a reply of one line, lists nothing.
    pub fn parse(reply: &Reply) -> Self {
        let mut parsed = Self::default();
        if reply.class() != ReplyClass::Completion {
            return parsed;
        }
        for line in reply.middle_lines() {
            parsed.add_line(&String::from_utf8_lossy(line));
        }
        parsed
    }

    /// Whether a feature is listed, by its first word in any case: `SIZE`, `MLST`.
    pub fn has(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature.name.eq_ignore_ascii_case(name))
    }

    /// Whether a feature is listed with a parameter, both in any case: `SITE` with `SYMLINK`, `AUTH` with `TLS`.
    pub fn has_with(&self, name: &str, parameter: &str) -> bool {
        self.features.iter().filter(|feature| feature.name.eq_ignore_ascii_case(name)).any(|feature| {
            feature
                .parameters
                .split(|character: char| character.is_ascii_whitespace() || matches!(character, ';' | ','))
                .any(|word| word.eq_ignore_ascii_case(parameter))
        })
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// MLST, and with it MLSD (RFC 3659 §7.8).
    pub fn mlst(&self) -> bool {
        self.has("MLST") || self.has("MLSD")
    }

    /// What MLSD and MLST can tell, in the server's order.
    pub fn mlst_facts(&self) -> &[MlstFact] {
        &self.mlst_facts
    }

    /// The argument of an OPTS that makes MLST and MLSD tell all facts that we read, where the server has some that it does
    /// not tell without being asked (pyftpdlib: the permission bits). `MLST type;size;modify;unix.mode;`. Source: RFC 3659 §7.9.
    pub fn missing_facts_option(&self) -> Option<String> {
        const READ: [&str; 5] = ["type", "size", "modify", "unique", "unix.mode"];
        let is_read = |fact: &MlstFact| READ.contains(&fact.name.as_str());
        if !self.mlst_facts.iter().any(|fact| is_read(fact) && !fact.is_enabled) {
            return None;
        }
        // Those that are told already stay: what is not named here is not told any more.
        let wanted = self.mlst_facts.iter().filter(|fact| is_read(fact) || fact.is_enabled);
        let option = wanted.fold(String::from("MLST "), |option, fact| option + &fact.name + ";");
        (option.len() <= FACTS_OPTION_LEN_MAX).then_some(option)
    }

    /// SIZE (RFC 3659 §4).
    pub fn size(&self) -> bool {
        self.has("SIZE")
    }

    /// MDTM (RFC 3659 §3).
    pub fn mdtm(&self) -> bool {
        self.has("MDTM")
    }

    /// REST STREAM: RETR and STOR can begin at an offset (RFC 3659 §5).
    pub fn rest_stream(&self) -> bool {
        self.has_with("REST", "STREAM")
    }

    /// RANG STREAM: RETR can end at an offset.
    pub fn rang_stream(&self) -> bool {
        self.has_with("RANG", "STREAM")
    }

    /// MFMT: modification times can be set.
    pub fn mfmt(&self) -> bool {
        self.has("MFMT")
    }

    /// MFF with the `modify` fact.
    pub fn mff_modify(&self) -> bool {
        self.has_with("MFF", "MODIFY")
    }

    /// UTF8: names are UTF-8 (RFC 2640 §3).
    pub fn utf8(&self) -> bool {
        self.has("UTF8") || self.has("UTF-8")
    }

    /// EPSV (RFC 2428).
    pub fn epsv(&self) -> bool {
        self.has("EPSV")
    }

    /// PRET: wanted before PASV.
    pub fn pret(&self) -> bool {
        self.has("PRET")
    }

    /// CLNT: may be wanted before OPTS UTF8.
    pub fn clnt(&self) -> bool {
        self.has("CLNT")
    }

    /// AVBL: free space can be asked for.
    pub fn avbl(&self) -> bool {
        self.has("AVBL")
    }

    /// AUTH TLS (RFC 4217). `AUTH TLS-C` and `AUTH SSL` do not count.
    pub fn auth_tls(&self) -> bool {
        self.has_with("AUTH", "TLS")
    }

    fn add_line(&mut self, line: &str) {
        let line = line.trim();
        let (name, parameters) =
            line.split_once(|character: char| character.is_ascii_whitespace()).unwrap_or((line, ""));
        if name.is_empty() {
            return;
        }
        if name.eq_ignore_ascii_case("MLST") {
            self.mlst_facts = parse_facts(parameters);
        }
        self.features.push(Feature { name: name.to_ascii_uppercase(), parameters: parameters.trim().to_owned() });
    }
}

/// `type*;size*;modify*;perm;` to facts.
fn parse_facts(parameters: &str) -> Vec<MlstFact> {
    parameters
        .split(';')
        .map(|fact| {
            let fact = fact.trim();
            let name = fact.strip_suffix('*');
            MlstFact { name: name.unwrap_or(fact).to_ascii_lowercase(), is_enabled: name.is_some() }
        })
        // What is no word would be sent back in OPTS, where a CR is not allowed and a space means something.
        .filter(|fact| !fact.name.is_empty() && fact.name.bytes().all(|byte| byte.is_ascii_graphic()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ReplyDecoder;

    fn features(transcript: &str) -> Features {
        let mut decoder = ReplyDecoder::default();
        decoder.push(transcript.as_bytes());
        Features::parse(&decoder.next().unwrap().unwrap())
    }

    #[test]
    fn features_are_read_with_their_parameters() {
        let features = features(
            "211-Features:\r\n MLST Type*;Size*;modify;UNIX.mode*;\r\n rest STREAM\r\n SITE SYMLINK\r\n SITE UTIME\r\n \
             AUTH TLS-C;TLS;SSL\r\n MFF modify;UNIX.group;UNIX.mode;\r\n UTF8\r\n211 End\r\n",
        );
        assert!(features.mlst() && features.rest_stream() && features.auth_tls() && features.mff_modify());
        assert!(features.utf8() && features.has_with("site", "utime") && features.has_with("SITE", "SYMLINK"));
        assert!(!features.mfmt() && !features.has_with("SITE", "CHMOD") && !features.rang_stream());
        let facts: Vec<_> = features.mlst_facts().iter().map(|fact| (fact.name.as_str(), fact.is_enabled)).collect();
        assert_eq!(facts, [("type", true), ("size", true), ("modify", false), ("unix.mode", true)]);
    }

    #[test]
    fn facts_that_are_not_told_without_asking_are_asked_for() {
        let option = |facts: &str| features(&format!("211-\r\n MLST {facts}\r\n211 End\r\n")).missing_facts_option();
        assert_eq!(
            option("type*;perm*;size*;modify*;unique*;unix.mode;unix.uid;unix.gid;").unwrap(),
            "MLST type;perm;size;modify;unique;unix.mode;"
        );
        assert_eq!(option("Type*;Size;Modify*;").unwrap(), "MLST type;size;modify;");
        assert_eq!(option("type*;size*;modify*;UNIX.mode*;create;media-type;"), None);
        assert_eq!(option(""), None);
        assert_eq!(features("500 What?\r\n").missing_facts_option(), None);
    }

    #[test]
    fn facts_that_no_command_can_name_are_not_sent_back() {
        let option = |facts: &str| features(&format!("211-\r\n MLST {facts}\r\n211 End\r\n")).missing_facts_option();
        assert_eq!(option("type*;size;x\ry*;*;a b*;\u{fc}*;").unwrap(), "MLST type;size;");
        assert_eq!(option(&format!("size;{}*;", "x".repeat(1000))), None);
    }

    #[test]
    fn features_with_the_code_before_each_line_are_read() {
        let features = features("211-Extensions\r\n211-SIZE\r\n211-  MDTM  \r\n211-\r\n211 End\r\n");
        assert!(features.size() && features.mdtm());
    }

    #[test]
    fn first_and_last_line_are_no_features() {
        let features = features("211-SIZE supported:\r\n EPSV\r\n211 MDTM\r\n");
        assert!(features.epsv() && !features.size() && !features.mdtm());
    }

    #[test]
    fn refusal_and_single_line_list_nothing() {
        assert!(features("500 SIZE what?\r\n").is_empty());
        assert!(features("530-Log in\r\n SIZE\r\n530 first\r\n").is_empty());
        assert!(features("211 No features\r\n").is_empty());
    }
}
