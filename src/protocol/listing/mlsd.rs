//! MLSD and MLST: facts and a name (RFC 3659 §7).
//!
//! `type=file;size=12;modify=20240102030405; name`: the name begins behind the first space and has no end but the
//! line's. Facts come in any order and case; each may be missing.

use super::columns::parse_number;
use super::{Context, Dialect, Line, without_slash};
use crate::protocol::entry::{Entry, EntryKind};
use crate::protocol::path::Name;
use crate::protocol::timestamp::parse_time_val;

/// The only format of MLSD.
pub const DIALECT: Dialect = Dialect { name: "MLSD", parse };

/// Reads the line of facts in a reply to MLST, with or without the space before it, as the entry called `name`.
///
/// The name in the line is not looked at: servers write a path there, or the name alone, or their own spelling of it.
/// `None` where the line holds no facts. Source: RFC 3659 §7.2.
pub fn parse_mlst(line: &[u8], name: Name) -> Option<Entry> {
    let line = line.strip_prefix(b" ").unwrap_or(line);
    let (facts, _) = split_name(line).unwrap_or((line, b""));
    let facts = Facts::parse(facts).filter(|_| !facts.is_empty())?;
    let kind = match facts.kind {
        FactKind::Entry(kind) => kind,
        FactKind::Dots => EntryKind::Directory,
    };
    Some(facts.into_entry(name, kind))
}

fn parse(line: &[u8], _context: &Context) -> Line {
    let Some((facts, name)) = split_name(line) else { return Line::NotMine };
    let Some(facts) = Facts::parse(facts) else { return Line::NotMine };
    match facts.kind {
        FactKind::Dots => Line::Dots,
        FactKind::Entry(kind) => Line::named(without_slash(name, kind), |name| facts.into_entry(name, kind)),
    }
}

/// Splits at the first space, into facts and name.
fn split_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (facts, name) = line.split_at_checked(space)?;
    // Some servers leave out the last `;`, which RFC 3659 §7.2 wants. But where a link's target is told, a missing one
    // rather means that the target has a space in it, and the facts go on.
    if !facts.ends_with(b";") && find_ignoring_case(facts, b"=os.unix=slink:").is_some() {
        let end = line.windows(2).position(|pair| pair == b"; ")?;
        let (facts, name) = line.split_at_checked(end + 1)?;
        return Some((facts, name.strip_prefix(b" ")?));
    }
    Some((facts, name.strip_prefix(b" ")?))
}

/// What the `type` fact says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FactKind {
    Entry(EntryKind),
    /// `cdir` or `pdir`: the directory itself, or its parent.
    Dots,
}

/// The facts that an [`Entry`] has a place for, as slices of the line.
struct Facts<'line> {
    kind: FactKind,
    link_target: Option<&'line [u8]>,
    size: Option<&'line [u8]>,
    modify: Option<&'line [u8]>,
    mode: Option<&'line [u8]>,
    owner: Option<&'line [u8]>,
    owner_name: Option<&'line [u8]>,
    group: Option<&'line [u8]>,
    group_name: Option<&'line [u8]>,
    unique: Option<&'line [u8]>,
}

impl<'line> Facts<'line> {
    /// Reads facts up to the space; `None` where there is something and none of it is a fact.
    fn parse(bytes: &'line [u8]) -> Option<Self> {
        let mut facts = Self {
            // RFC 3659 §7.5.1 lets a server leave the type out; what is no folder is shown as a file.
            kind: FactKind::Entry(EntryKind::File),
            link_target: None,
            size: None,
            modify: None,
            mode: None,
            owner: None,
            owner_name: None,
            group: None,
            group_name: None,
            unique: None,
        };
        let mut any = bytes.is_empty();
        for fact in bytes.split(|byte| *byte == b';') {
            let Some(equals) = fact.iter().position(|byte| *byte == b'=') else { continue };
            let Some((key, value)) = fact.split_at_checked(equals) else { continue };
            any = true;
            facts.take(key, value.strip_prefix(b"=").unwrap_or(value));
        }
        any.then_some(facts)
    }

    fn take(&mut self, key: &[u8], value: &'line [u8]) {
        let place = match key {
            key if key.eq_ignore_ascii_case(b"type") => return self.take_type(value),
            key if key.eq_ignore_ascii_case(b"size") => &mut self.size,
            key if key.eq_ignore_ascii_case(b"modify") => &mut self.modify,
            key if key.eq_ignore_ascii_case(b"unique") => &mut self.unique,
            key if key.eq_ignore_ascii_case(b"UNIX.mode") => &mut self.mode,
            key if key.eq_ignore_ascii_case(b"UNIX.ownername") => &mut self.owner_name,
            key if key.eq_ignore_ascii_case(b"UNIX.groupname") => &mut self.group_name,
            key if key.eq_ignore_ascii_case(b"UNIX.owner") || key.eq_ignore_ascii_case(b"UNIX.uid") => &mut self.owner,
            key if key.eq_ignore_ascii_case(b"UNIX.group") || key.eq_ignore_ascii_case(b"UNIX.gid") => &mut self.group,
            _ => return,
        };
        if !value.is_empty() {
            *place = Some(value);
        }
    }

    /// Reads a `type` (RFC 3659 §7.5.1), or what servers write there for symbolic links.
    fn take_type(&mut self, value: &'line [u8]) {
        let lower = value.to_ascii_lowercase();
        // Of two types the last one counts, and what the first one told of a link is not told of it.
        self.link_target = None;
        self.kind = FactKind::Entry(match lower.as_slice() {
            b"dir" => EntryKind::Directory,
            b"cdir" | b"pdir" => {
                self.kind = FactKind::Dots;
                return;
            }
            b"link" | b"symlink" | b"slink" | b"os.unix=symlink" | b"os.unix=slink" => EntryKind::Symlink,
            other if other.starts_with(b"os.unix=slink:") => {
                self.link_target = value.get(b"os.unix=slink:".len()..).filter(|target| !target.is_empty());
                EntryKind::Symlink
            }
            // Devices, pipes and sockets: `OS.unix=blk-11/108`, `OS.unix=chr-1/3`, `OS.unix=pipe`.
            other if other.starts_with(b"os.") => EntryKind::Other,
            // `file`, and words of no RFC, which tell no more than a missing fact.
            _ => EntryKind::File,
        });
    }

    fn into_entry(self, name: Name, kind: EntryKind) -> Entry {
        Entry {
            name,
            kind,
            size: self.size.and_then(parse_number),
            modified: self.modify.and_then(parse_time_val),
            mode: self.mode.and_then(parse_octal),
            owner: self.owner_name.or(self.owner).map(Into::into),
            group: self.group_name.or(self.group).map(Into::into),
            link_target: self.link_target.map(Into::into),
            unique: self.unique.map(Into::into),
        }
    }
}

/// The permission bits of `0755`, of `0o755` (pyftpdlib), or of `100755`, where the kind of file stands before them.
fn parse_octal(digits: &[u8]) -> Option<u32> {
    let digits = digits.strip_prefix(b"0o").unwrap_or(digits);
    let mode = u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?, 8).ok()?;
    (mode <= 0o177_777).then_some(mode & 0o7777)
}

/// Where `part`, which is in lower case, begins in `bytes`.
fn find_ignoring_case(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(line: &[u8]) -> Line {
        parse(line, &Context { now_seconds: 0, ahead_of_utc_seconds: 3600 })
    }

    fn entry(line: &[u8]) -> Entry {
        match parse_one(line) {
            Line::Entry(entry) => entry,
            other => panic!("{}: {other:?}", line.escape_ascii()),
        }
    }

    #[test]
    fn of_two_types_the_last_one_counts_alone() {
        let entry = entry(b"type=OS.unix=slink:/a;size=1;type=file; name");
        assert_eq!((entry.kind, entry.link_target), (EntryKind::File, None));
    }

    #[test]
    fn every_fact_of_proftpd_is_kept() {
        let entry = entry(
            b"modify=20240102030405;perm=adfrw;size=12;type=file;unique=FE01U2A;UNIX.group=100;UNIX.groupname=users;\
              UNIX.mode=0640;UNIX.owner=1000;UNIX.ownername=anna; a file",
        );
        assert_eq!(entry.name.as_bytes(), b"a file");
        assert_eq!((entry.kind, entry.size, entry.mode), (EntryKind::File, Some(12), Some(0o640)));
        // UTC, whatever the server's local time.
        assert_eq!(entry.modified.map(|time| time.seconds), Some(1_704_164_645));
        assert_eq!((entry.owner.as_deref(), entry.group.as_deref()), (Some(&b"anna"[..]), Some(&b"users"[..])));
        assert_eq!(entry.unique.as_deref(), Some(&b"FE01U2A"[..]));
    }

    #[test]
    fn permission_bits_are_read_in_each_way_they_are_written() {
        for (written, expected) in
            [("0755", Some(0o755)), ("0o755", Some(0o755)), ("100640", Some(0o640)), ("0o", None), ("0x1", None)]
        {
            let line = format!("type=file;UNIX.mode={written}; a");
            assert_eq!(entry(line.as_bytes()).mode, expected, "{written}");
        }
    }

    #[test]
    fn name_is_all_behind_the_first_space() {
        for name in [&b" lead"[..], b"trail ", b"a;b=c; d", b"= ;", b"\t tab", b"a -> b", b"\xff\xfe"] {
            for facts in [&b"type=file;size=1;"[..], b"type=file;size=1", b"TYPE=File;", b";", b"=;", b""] {
                if facts == b";" {
                    continue;
                }
                let line = [facts, b" ", name].concat();
                assert_eq!(entry(&line).name.as_bytes(), name, "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn kinds_are_told_by_type() {
        for (kind, expected) in [
            ("Dir", EntryKind::Directory),
            ("file", EntryKind::File),
            ("OS.unix=symlink", EntryKind::Symlink),
            ("OS.UNIX=slink:", EntryKind::Symlink),
            ("OS.unix=slink:/a", EntryKind::Symlink),
            ("OS.unix=chr-1/3", EntryKind::Other),
            ("OS.unix=socket", EntryKind::Other),
            ("", EntryKind::File),
        ] {
            assert_eq!(entry(format!("type={kind};size=1; x").as_bytes()).kind, expected, "{kind}");
        }
        assert_eq!(parse_one(b"type=cdir; /some/where"), Line::Dots);
        assert_eq!(parse_one(b"Type=PDIR; .."), Line::Dots);
        assert_eq!(parse_one(b"type=dir; .."), Line::Dots);
    }

    #[test]
    fn target_of_a_link_may_have_spaces_and_colons() {
        for (line, name, target) in [
            (&b"type=OS.unix=slink:/a;size=2; x y"[..], &b"x y"[..], Some(&b"/a"[..])),
            (b"size=2;type=OS.unix=slink:/a b: c;modify=20240102030405; x y", b"x y", Some(b"/a b: c")),
            (b"type=OS.unix=slink:;size=2; x", b"x", None),
        ] {
            let entry = entry(line);
            assert_eq!((entry.name.as_bytes(), entry.link_target.as_deref()), (name, target));
        }
    }

    #[test]
    fn fact_that_makes_no_sense_is_as_good_as_missing() {
        let entry = entry(
            b"type=file;size=99999999999999999999999;modify=20240230000000;UNIX.mode=9;UNIX.owner=;unique=;x; over",
        );
        assert_eq!(entry, Entry::new(entry.name.clone(), EntryKind::File));
        assert_eq!(self::entry(b"size=-1; x").size, None);
        assert_eq!(self::entry(b"size=+1; x").size, None);
        assert_eq!(self::entry(b"UNIX.mode=100755; x").mode, Some(0o755));
    }

    #[test]
    fn lines_without_facts_or_name_are_not_understood() {
        for line in [
            &b"drwxr-xr-x 2 u g 4096 Jan 1 2020 x"[..],
            b"garbage in a line",
            b"type=file;",
            b"type=file;/no/space",
            b"type=file; ",
            b" ",
            b"",
        ] {
            assert_eq!(parse_one(line), Line::NotMine, "{}", line.escape_ascii());
        }
        assert_eq!(parse_one(b"type=file; ../x"), Line::Refused);
        assert_eq!(parse_one(b"type=file; a\rb"), Line::Refused);
        assert_eq!(parse_one(b"type=file; a\0b"), Line::Refused);
    }

    #[test]
    fn mlst_takes_its_name_from_the_question() {
        let name = || Name::new("b c").unwrap();
        for line in [
            &b" type=dir;UNIX.mode=0700; /a/b c"[..],
            b"type=dir;UNIX.mode=0700; b c",
            b" type=cdir;UNIX.mode=0700; /a/b c",
            b" type=dir;UNIX.mode=0700;",
        ] {
            let entry = parse_mlst(line, name()).unwrap();
            assert_eq!((entry.name, entry.kind, entry.mode), (name(), EntryKind::Directory, Some(0o700)));
        }
        assert_eq!(parse_mlst(b"End", name()), None);
        assert_eq!(parse_mlst(b" /a/b c", name()), None);
        assert_eq!(parse_mlst(b"", name()), None);
    }
}
