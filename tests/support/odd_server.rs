//! An FTP server with a tree of files and real data connections that does wrong what its [`Quirks`] say, and
//! everything else right. It can be told to break a connection off at a command ([`OddServer::break_at`]).
//!
//! Not here: connections and their threads (`scripted_server`), the files (`odd_tree`).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::odd_tree::{Dialect, File, Node, Tree, compact_time, facts, line};
use crate::scripted_server::{Dialogue, ScriptedServer};

/// What RNTO does where the name is taken by a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameOver {
    /// Replaces it.
    Replaces,
    /// Refuses in these words.
    Refuses(&'static str),
    /// Says 250 and does nothing.
    OnlySaysYes,
    /// Replaces it and says 553.
    ReplacesAndRefuses,
}

/// What STOR does with a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Replaces it.
    Replaces,
    /// Writes over its beginning, and leaves the rest.
    KeepsTail,
    /// Takes another name (`name.1`).
    TakesAnotherName,
}

/// What STOR does behind a REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartedStore {
    /// Writes over the file from there on, and leaves what lies behind.
    KeepsTail,
    /// The file ends with what is sent.
    CutsTail,
    /// The file is emptied, and has zeros up to there.
    FillsWithZeros,
    /// Replaces the file.
    Forgets,
    /// Is refused in these words, REST having been agreed to.
    Refused(&'static str),
}

/// What `LIST -a` is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListAll {
    /// An option: names that begin with a dot are shown.
    Option,
    /// The name of a file, which is not there.
    Name,
    /// An argument that is refused.
    Refused,
}

/// What is odd about the server. The default is a plain one with MLSD and without MFMT.
#[derive(Debug, Clone)]
pub(crate) struct Quirks {
    /// The greeting.
    pub(crate) banner: &'static str,
    /// Replies to commands that begin so, which are then not obeyed. The first that fits counts.
    pub(crate) says: &'static [(&'static str, &'static str)],
    /// What FEAT lists.
    pub(crate) features: &'static str,
    /// Whether MLSD and MLST are there.
    pub(crate) has_facts: bool,
    /// What becomes of the lines of MLSD.
    pub(crate) change_facts: fn(Vec<String>) -> Vec<String>,
    /// How LIST is written.
    pub(crate) dialect: Dialect,
    /// What LIST does with `-a`; without it, it hides names that begin with a dot.
    pub(crate) list_all: ListAll,
    /// The reply to STAT of a directory, from the lines of LIST; `None` where it is not known.
    pub(crate) status: fn(&[String]) -> Option<String>,
    /// After so many entries a listing ends.
    pub(crate) listing_limit: usize,
    /// What is said to a directory without entries, in place of an empty listing.
    pub(crate) empty_listing: Option<&'static str>,
    /// Lines before each transfer's data; none where it is empty.
    pub(crate) preliminary: &'static str,
    /// The reply after a transfer.
    pub(crate) completion: &'static str,
    /// The completion reply is said before the data moves.
    pub(crate) completion_first: bool,
    /// So many commands that came with a STOR or RETR are answered before its data moves.
    pub(crate) answers_early: usize,
    /// What RNTO does where the name is taken.
    pub(crate) rename_over: RenameOver,
    /// What STOR does where the name is taken.
    pub(crate) store: Store,
    /// What STOR does behind a REST.
    pub(crate) restarted_store: RestartedStore,
    /// So many bytes fit into a file; then it is 552.
    pub(crate) quota: usize,
    /// So many bytes at the end of an upload are lost, and nothing is said of it.
    pub(crate) loses: usize,
    /// REST is answered by 350 and forgotten.
    pub(crate) forgets_restart: bool,
    /// What a name becomes when it is stored.
    pub(crate) stored_name: fn(&str) -> String,
    /// LIST shows times so many seconds ahead of UTC.
    pub(crate) list_ahead_seconds: i64,
    /// MDTM shows times so many seconds ahead of UTC.
    pub(crate) mdtm_ahead_seconds: i64,
    /// The ways to set a time: beginnings of commands.
    pub(crate) sets_time_by: &'static [&'static str],
    /// Times that are set are taken for local ones, so many seconds ahead of UTC.
    pub(crate) set_ahead_seconds: i64,
    /// RMD removes what is in the directory too.
    pub(crate) removes_all: bool,
    /// DELE removes directories too.
    pub(crate) deletes_directories: bool,
    /// What MKD says where the directory is there.
    pub(crate) made_again: &'static str,
    /// The address in a 227.
    pub(crate) passive_address: Ipv4Addr,
    /// Connections to EPSV's ports are never answered.
    pub(crate) swallows_epsv: bool,
    /// So many sessions; one more is refused in these words.
    pub(crate) sessions_max: (usize, &'static str),
    /// Each byte of a reply waits so long.
    pub(crate) drip: Option<Duration>,
    /// The reply to a command that begins so has no end.
    pub(crate) endless_reply_to: &'static str,
    /// Listings have no end; their lines come slowly.
    pub(crate) endless_listing: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            banner: "220 Odd",
            says: &[],
            features: "",
            has_facts: true,
            change_facts: |lines| lines,
            dialect: Dialect::Unix,
            list_all: ListAll::Option,
            status: |_| None,
            listing_limit: usize::MAX,
            empty_listing: None,
            preliminary: "150 Here it comes",
            completion: "226 Done",
            completion_first: false,
            answers_early: 0,
            rename_over: RenameOver::Replaces,
            store: Store::Replaces,
            restarted_store: RestartedStore::KeepsTail,
            quota: usize::MAX,
            loses: 0,
            forgets_restart: false,
            stored_name: str::to_owned,
            list_ahead_seconds: 0,
            mdtm_ahead_seconds: 0,
            sets_time_by: &[],
            set_ahead_seconds: 0,
            removes_all: false,
            deletes_directories: false,
            made_again: "550 File exists",
            passive_address: Ipv4Addr::LOCALHOST,
            swallows_epsv: false,
            sessions_max: (usize::MAX, ""),
            drip: None,
            endless_reply_to: "no command",
            endless_listing: false,
        }
    }
}

/// Between two pieces of what has no end.
const PAUSE: Duration = Duration::from_millis(100);

/// How a connection ends at a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Without a word, the command not obeyed.
    Before,
    /// 421, the command not obeyed.
    Before421,
    /// The command is obeyed, and not answered.
    After,
    /// The command is obeyed, and answered by 421.
    After421,
    /// The command is obeyed and not answered, and so is what was sent behind it.
    Deaf,
    /// The data has moved, and the completion reply does not come.
    AfterData,
    /// Without a word; the command and what came with it are obeyed right before somebody else says the same verb.
    Late,
}

struct World {
    quirks: Quirks,
    tree: Mutex<Tree>,
    /// How many commands there are to come before the connection breaks.
    breaking: Mutex<Option<(usize, Break)>>,
    /// What is still to be obeyed, though nobody waits for it.
    late: Mutex<Vec<String>>,
    sessions: AtomicUsize,
    /// Bytes of the next upload that never come, though it ends in order.
    lost_on_the_way: AtomicUsize,
}

/// The server; it ends when dropped.
pub(crate) struct OddServer {
    server: ScriptedServer,
    world: Arc<World>,
}

impl OddServer {
    pub(crate) fn start(quirks: Quirks) -> Self {
        let world = Arc::new(World {
            quirks,
            tree: Mutex::default(),
            breaking: Mutex::default(),
            late: Mutex::default(),
            sessions: AtomicUsize::new(0),
            lost_on_the_way: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&world);
        let server = ScriptedServer::start(move |dialogue| {
            let count = shared.sessions.fetch_add(1, Ordering::AcqRel);
            let (sessions_max, refusal) = shared.quirks.sessions_max;
            if count < sessions_max {
                dialogue.say(shared.quirks.banner);
                Session::new(&shared, dialogue).serve();
            } else {
                dialogue.say(refusal);
            }
            shared.sessions.fetch_sub(1, Ordering::AcqRel);
        });
        Self { server, world }
    }

    /// What lies on the server.
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.world.tree.lock().unwrap()
    }

    pub(crate) fn dialogue(&self) -> &ScriptedServer {
        &self.server
    }

    /// Somebody on the way ends the data connection of the next upload in order, before its last `count` bytes; once.
    pub(crate) fn lose_on_the_way(&self, count: usize) {
        self.world.lost_on_the_way.store(count, Ordering::Release);
    }

    /// Breaks the connection at the command that comes after `count` others; once.
    pub(crate) fn break_at(&self, count: usize, how: Break) {
        *self.world.breaking.lock().unwrap() = Some((count, how));
    }
}

/// One control connection.
struct Session<'a> {
    world: &'a World,
    dialogue: &'a mut Dialogue,
    directory: String,
    restart: usize,
    renamed: Option<String>,
    is_mute: bool,
    ends_after_data: bool,
    /// What keeps the queue of a port full.
    fillers: Vec<Socket>,
}

impl<'a> Session<'a> {
    fn new(world: &'a World, dialogue: &'a mut Dialogue) -> Self {
        Self {
            world,
            dialogue,
            directory: String::new(),
            restart: 0,
            renamed: None,
            is_mute: false,
            ends_after_data: false,
            fillers: Vec::new(),
        }
    }

    fn serve(mut self) {
        while let Some(command) = self.dialogue.next_command() {
            match self.take_break() {
                Some(Break::Before) => return,
                Some(Break::Before421) => return self.say("421 Enough"),
                Some(Break::After) => {
                    self.is_mute = true;
                    return self.obey(&command);
                }
                Some(Break::After421) => {
                    self.is_mute = true;
                    self.obey(&command);
                    self.is_mute = false;
                    return self.say("421 Enough");
                }
                Some(Break::Deaf) => {
                    self.is_mute = true;
                    self.dialogue.fall_silent();
                }
                Some(Break::AfterData) => self.ends_after_data = true,
                Some(Break::Late) => return self.leave_for_later(command),
                None => self.do_what_is_late(&command),
            }
            self.obey(&command);
            if command == "QUIT" || (self.ends_after_data && self.is_mute) {
                return;
            }
        }
    }

    fn leave_for_later(&mut self, command: String) {
        let mut late = vec![command];
        while self.dialogue.has_more()
            && let Some(command) = self.dialogue.next_command()
        {
            late.push(command);
        }
        *self.world.late.lock().unwrap() = late;
    }

    fn do_what_is_late(&mut self, command: &str) {
        let verb = |command: &str| command.split(' ').next().map(str::to_owned);
        let mut late = self.world.late.lock().unwrap();
        if late.first().is_some_and(|first| verb(first) == verb(command)) {
            let was_mute = std::mem::replace(&mut self.is_mute, true);
            std::mem::take(&mut *late).iter().for_each(|command| self.obey(command));
            self.is_mute = was_mute;
        }
    }

    fn take_break(&self) -> Option<Break> {
        let mut breaking = self.world.breaking.lock().unwrap();
        match breaking.as_mut()? {
            (0, how) => {
                let how = *how;
                *breaking = None;
                Some(how)
            }
            (count, _) => {
                *count -= 1;
                None
            }
        }
    }

    fn say(&mut self, lines: &str) {
        if self.is_mute || lines.is_empty() {
            return;
        }
        let Some(pause) = self.world.quirks.drip else { return self.dialogue.say(lines) };
        for byte in format!("{lines}\r\n").as_bytes() {
            thread::sleep(pause);
            self.dialogue.say_bytes(&[*byte]);
        }
    }

    fn tree(&self) -> MutexGuard<'a, Tree> {
        self.world.tree.lock().unwrap()
    }

    /// The path in the tree that an argument means.
    fn resolve(&self, argument: &str) -> String {
        let whole =
            if argument.starts_with('/') { argument.to_owned() } else { format!("{}/{argument}", self.directory) };
        let whole = whole.trim_end_matches('/');
        match whole.rsplit_once('/') {
            Some((parent, name)) => format!("{parent}/{}", (self.world.quirks.stored_name)(name)),
            None => String::new(),
        }
    }

    fn obey(&mut self, command: &str) {
        let quirks = &self.world.quirks;
        if let Some((_, reply)) = quirks.says.iter().find(|(beginning, _)| command.starts_with(beginning)) {
            return self.say(reply);
        }
        if command.starts_with(quirks.endless_reply_to) {
            return self.say_without_end();
        }
        if quirks.sets_time_by.iter().any(|beginning| command.starts_with(beginning)) && self.set_time(command) {
            return;
        }
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "USER" => self.say("331 Password?"),
            "PASS" => self.say("230 Welcome"),
            "TYPE" | "NOOP" | "OPTS" | "CLNT" => self.say("200 OK"),
            "QUIT" => self.say("221 Bye"),
            "FEAT" if quirks.features.is_empty() => self.say("502 No"),
            "FEAT" => self.say(&format!("211-Features:\r\n {}\r\n211 End", quirks.features)),
            "PWD" => self.say(&format!("257 \"{}/\"", self.directory)),
            "EPSV" | "PASV" => self.listen(verb),
            "REST" => {
                self.restart = if quirks.forgets_restart { 0 } else { argument.parse().unwrap() };
                self.say(&format!("350 Going on at {argument}"));
            }
            "STAT" => {
                let lines = self.lines(true);
                self.say(&(self.world.quirks.status)(&lines).unwrap_or_else(|| "502 Not here".into()));
            }
            "LIST" => self.list(argument),
            "MLSD" if quirks.has_facts => self.list_facts(),
            "RETR" => self.retrieve(argument),
            "STOR" | "APPE" => self.store(verb, argument),
            _ => {
                let reply = self.answer(verb, argument);
                self.say(&reply);
            }
        }
    }

    fn say_without_end(&mut self) {
        while self.dialogue.say_bytes(b"213-More\r\n") {
            thread::sleep(PAUSE);
        }
    }

    /// Commands of one reply that do something with a path.
    fn answer(&mut self, verb: &str, argument: &str) -> String {
        let quirks = &self.world.quirks;
        let path = self.resolve(argument);
        let node = self.tree().get(&path).cloned();
        let missing = || String::from("550 No such file or directory");
        match (verb, node) {
            ("CWD", Some(Node::Directory)) => {
                self.directory = path;
                String::from("250 OK")
            }
            ("SIZE", Some(Node::File(file))) => format!("213 {}", file.bytes.len()),
            ("MDTM", Some(Node::File(file))) => {
                format!("213 {}", compact_time(file.modified + quirks.mdtm_ahead_seconds))
            }
            ("MLST", Some(node)) if quirks.has_facts => {
                format!("250-Facts\r\n {}{path}\r\n250 End", facts(&node))
            }
            ("MLST", None) if quirks.has_facts => missing(),
            ("MKD", Some(_)) => String::from(quirks.made_again),
            ("MKD", None) if self.has_parent(&path) => {
                self.tree().put(&path, Node::Directory);
                format!("257 \"{path}\" made")
            }
            ("DELE", Some(node)) if node != Node::Directory || quirks.deletes_directories => {
                self.tree().remove(&path);
                String::from("250 Gone")
            }
            ("RMD", Some(Node::Directory)) => self.remove_directory(&path),
            ("RNFR", Some(_)) => {
                self.renamed = Some(path);
                String::from("350 To what?")
            }
            ("RNTO", node) => self.rename(&path, node),
            ("SIZE" | "MDTM" | "CWD" | "MKD" | "DELE" | "RMD" | "RNFR", _) => missing(),
            _ => String::from("502 Not here"),
        }
    }

    fn has_parent(&self, path: &str) -> bool {
        path.rsplit_once('/').is_some_and(|(parent, _)| self.tree().is_directory(parent))
    }

    fn remove_directory(&self, path: &str) -> String {
        let mut tree = self.tree();
        if !self.world.quirks.removes_all && !tree.entries(path).is_empty() {
            return String::from("550 Not empty");
        }
        tree.remove_all(path);
        String::from("250 Gone")
    }

    fn rename(&mut self, to: &str, taken: Option<Node>) -> String {
        let Some(from) = self.renamed.take() else { return String::from("503 RNFR first") };
        if !self.has_parent(to) {
            return String::from("550 No such directory");
        }
        match (taken, self.world.quirks.rename_over) {
            (Some(Node::Directory), _) => return String::from("550 Is a directory"),
            (Some(_), RenameOver::Refuses(reply)) => return String::from(reply),
            (Some(_), RenameOver::OnlySaysYes) => return String::from("250 Renamed"),
            _ => {}
        }
        let is_taken = self.tree().get(to).is_some();
        self.tree().rename(&from, to);
        if is_taken && self.world.quirks.rename_over == RenameOver::ReplacesAndRefuses {
            return String::from("553 No");
        }
        String::from("250 Renamed")
    }

    /// Whether the command named a file and a time.
    fn set_time(&mut self, command: &str) -> bool {
        let words: Vec<&str> = command.trim_start_matches("SITE ").split(' ').collect();
        let is_time = |word: &&&str| word.len() == 14 && word.bytes().all(|byte| byte.is_ascii_digit());
        let time = words.iter().find(is_time).copied();
        let time = time.or_else(|| words.iter().find_map(|word| word.strip_prefix("Modify=")?.strip_suffix(';')));
        let Some(time) = time else { return false };
        let Some(path) = words.iter().find(|word| word.starts_with('/')).map(|word| self.resolve(word)) else {
            return false;
        };
        let seconds = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", time).unwrap();
        let seconds = seconds.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
        let ahead = self.world.quirks.set_ahead_seconds;
        let is_there = self.tree().file_mut(&path).map(|file| file.modified = seconds - ahead).is_some();
        self.say(if is_there { "213 OK" } else { "550 No such file" });
        true
    }

    fn listen(&mut self, verb: &str) {
        let port = self.dialogue.listen();
        if verb == "EPSV" && self.world.quirks.swallows_epsv {
            let port = self.listen_deaf();
            return self.say(&format!("229 Passive (|||{port}|)"));
        }
        if verb == "EPSV" {
            return self.say(&format!("229 Passive (|||{port}|)"));
        }
        let [a, b, c, d] = self.world.quirks.passive_address.octets();
        self.say(&format!("227 Passive ({a},{b},{c},{d},{},{})", port >> 8, port & 0xFF));
    }

    /// A port whose queue is full, so that the system answers no more connections to it.
    fn listen_deaf(&mut self) -> u16 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        self.fillers.push(socket);
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
            self.fillers.push(filler.into());
        }
        address.port()
    }

    fn list(&mut self, argument: &str) {
        let quirks = &self.world.quirks;
        let shows_dots = match (argument, quirks.list_all) {
            ("-a", ListAll::Option) => true,
            ("-a", ListAll::Name) => return self.send(b""),
            ("-a", ListAll::Refused) => return self.say("501 No options"),
            _ => false,
        };
        let lines = self.lines(shows_dots);
        self.send_lines(lines);
    }

    fn lines(&self, shows_dots: bool) -> Vec<String> {
        let quirks = &self.world.quirks;
        let entries = self.tree().entries(&self.directory).into_iter();
        entries
            .filter(|(name, _)| shows_dots || !name.starts_with('.'))
            .map(|(name, node)| line(quirks.dialect, &name, &node, quirks.list_ahead_seconds))
            .collect()
    }

    fn list_facts(&mut self) {
        let entries = self.tree().entries(&self.directory);
        let lines = entries.iter().map(|(name, node)| format!("{}{name}", facts(node))).collect();
        self.send_lines((self.world.quirks.change_facts)(lines));
    }

    fn send_lines(&mut self, lines: Vec<String>) {
        if self.world.quirks.endless_listing {
            return self.send_without_end(&lines);
        }
        if let (true, Some(reply)) = (lines.is_empty(), self.world.quirks.empty_listing) {
            return self.say(reply);
        }
        let lines = lines.iter().take(self.world.quirks.listing_limit);
        let text: String = lines.map(|line| format!("{line}\r\n")).collect();
        self.send(text.as_bytes());
    }

    fn send_without_end(&mut self, lines: &[String]) {
        self.say(self.world.quirks.preliminary);
        let Some(mut data) = self.dialogue.accept_or_notice() else { return };
        let mut lines = lines.iter().cycle();
        while lines.next().is_some_and(|line| data.write_all(format!("{line}\r\n").as_bytes()).is_ok()) {
            thread::sleep(PAUSE);
        }
        self.end_transfer("426 You went");
    }

    fn retrieve(&mut self, argument: &str) {
        let path = self.resolve(argument);
        let restart = std::mem::take(&mut self.restart);
        let bytes = self.tree().file(&path).map(|file| file.bytes.clone());
        match bytes {
            Some(bytes) => self.send(bytes.get(restart..).unwrap_or_default()),
            None => self.say("550 No such file"),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let quirks = &self.world.quirks;
        self.say(quirks.preliminary);
        if quirks.completion_first {
            self.say(quirks.completion);
        }
        self.answer_early();
        let Some(mut data) = self.dialogue.accept_or_notice() else { return self.say("425 Nobody came") };
        let is_sent = data.write_all(bytes).is_ok();
        drop(data);
        self.end_transfer(if is_sent { quirks.completion } else { "426 You went" });
    }

    fn answer_early(&mut self) {
        for _ in 0..self.world.quirks.answers_early {
            if self.dialogue.has_more()
                && let Some(command) = self.dialogue.next_command()
            {
                self.obey(&command);
            }
        }
    }

    fn store(&mut self, verb: &str, argument: &str) {
        let quirks = &self.world.quirks;
        let restart = std::mem::take(&mut self.restart);
        let mut path = self.resolve(argument);
        if !self.has_parent(&path) || self.tree().is_directory(&path) {
            return self.say("553 Not there");
        }
        let old = self.tree().file(&path).map(|file| file.bytes.clone());
        if old.is_some() && verb == "STOR" && quirks.store == Store::TakesAnotherName {
            path.push_str(".1");
        }
        let (mut bytes, mut place) = match (verb, restart, quirks.restarted_store) {
            (_, 1.., RestartedStore::Refused(reply)) => return self.say(reply),
            ("APPE", ..) => {
                let old = old.unwrap_or_default();
                let len = old.len();
                (old, len)
            }
            (_, 1.., RestartedStore::KeepsTail) => (old.unwrap_or_default(), restart),
            (_, 1.., RestartedStore::CutsTail) => {
                let mut old = old.unwrap_or_default();
                old.truncate(restart);
                (old, restart)
            }
            (_, 1.., RestartedStore::FillsWithZeros) => (vec![0; restart], restart),
            _ if quirks.store == Store::KeepsTail => (old.unwrap_or_default(), 0),
            _ => (Vec::new(), 0),
        };
        // As on a disk: an upload that breaks off has made an empty file at least.
        self.keep(&path, &bytes);
        self.say(quirks.preliminary);
        if quirks.completion_first {
            self.say(quirks.completion);
        }
        self.answer_early();
        let Some(mut data) = self.dialogue.accept_or_notice() else { return self.say("425 Nobody came") };
        let mut buffer = vec![0; 64 << 10];
        let end = loop {
            let len = match data.read(&mut buffer) {
                Ok(0) => break quirks.completion,
                Ok(len) => len,
                Err(_) => break "426 You went",
            };
            let len = len.saturating_sub(self.world.lost_on_the_way.swap(0, Ordering::AcqRel));
            let room = quirks.quota.saturating_sub(place).min(len);
            bytes.resize(bytes.len().max(place + room), 0);
            bytes[place..place + room].copy_from_slice(&buffer[..room]);
            place += room;
            if room < len {
                break "552 Quota exceeded";
            }
        };
        bytes.truncate(bytes.len() - quirks.loses.min(bytes.len()));
        self.keep(&path, &bytes);
        drop(data);
        self.end_transfer(end);
    }

    fn keep(&self, path: &str, bytes: &[u8]) {
        let modified = jiff::Timestamp::now().as_second();
        self.tree().put(path, Node::File(File { bytes: bytes.to_vec(), modified }));
    }

    fn end_transfer(&mut self, reply: &str) {
        self.is_mute |= self.ends_after_data;
        if !self.world.quirks.completion_first {
            self.say(reply);
        }
    }
}
