//! What the far server answers: one control connection's commands, and the transfers between them.
//!
//! Knows neither sockets nor the clock: what arrived goes in, what is said to it comes out.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's way to fail")]

use std::collections::VecDeque;

use crate::odd_tree::{Dialect, File, Node, Tree, compact_time, facts, line};

/// How the server behaves, in what round trips depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) name: &'static str,
    pub(crate) banner: &'static str,
    pub(crate) features: &'static str,
    /// Whether MLSD and MLST are there.
    pub(crate) has_facts: bool,
    /// MLSD leaves out symbolic links.
    pub(crate) hides_links: bool,
    /// Commands behind a transfer are answered while it runs, and a new port ends it.
    pub(crate) answers_during_transfers: bool,
    /// LIST and STAT take `-a`, and then show `.`; else they show all names but that one, and STAT takes `-a` for a name.
    pub(crate) takes_options: bool,
    /// The completion reply waits for the client's end of the data connection.
    pub(crate) holds_completion: bool,
}

pub(crate) const VSFTPD: Manner = Manner {
    name: "vsftpd",
    banner: "220 (vsFTPd far away)",
    features: " EPSV\r\n MDTM\r\n PASV\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n",
    has_facts: false,
    hides_links: false,
    answers_during_transfers: false,
    takes_options: true,
    holds_completion: false,
};

pub(crate) const PROFTPD: Manner = Manner {
    name: "proftpd",
    banner: "220 ProFTPD Server (far away)",
    features: " EPSV\r\n MDTM\r\n MFMT\r\n MLST modify*;perm*;size*;type*;unique*;\r\n RANG STREAM\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n",
    has_facts: true,
    hides_links: true,
    answers_during_transfers: false,
    takes_options: true,
    holds_completion: true,
};

pub(crate) const PURE_FTPD: Manner = Manner {
    name: "pure-ftpd",
    banner: "220 ---------- Welcome to Pure-FTPd [far away] ----------",
    features: " EPSV\r\n MDTM\r\n MFMT\r\n MLST type*;size*;modify*;\r\n MLSD\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n",
    has_facts: true,
    hides_links: false,
    answers_during_transfers: false,
    takes_options: true,
    holds_completion: false,
};

pub(crate) const PYFTPDLIB: Manner = Manner {
    name: "pyftpdlib",
    banner: "220 pyftpdlib far away ready.",
    features: " EPSV\r\n MDTM\r\n MFMT\r\n MLST type*;perm*;size*;modify*;unique*;\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n",
    has_facts: true,
    hides_links: true,
    answers_during_transfers: true,
    takes_options: false,
    holds_completion: false,
};

pub(crate) const MANNERS: [Manner; 4] = [VSFTPD, PROFTPD, PURE_FTPD, PYFTPDLIB];

/// What a session has to say.
#[derive(Debug)]
pub(crate) enum Output {
    /// A line, or several.
    Reply(String),
    /// The number of a port that is now open.
    Listen,
    /// All bytes of a transfer, and their end.
    Data(Vec<u8>),
    /// The data connection is closed.
    EndData,
    /// The control connection is closed.
    Close,
}

#[derive(Debug)]
enum Transfer {
    /// It begins when the data connection is there.
    Send(Vec<u8>),
    /// The bytes are on their way.
    Sending,
    /// All has been sent, and the client's end is waited for.
    Closing,
    /// An upload behind `kept`.
    Store { path: String, kept: Vec<u8>, has_begun: bool },
}

#[derive(Debug)]
pub(crate) struct Session {
    manner: Manner,
    received: Vec<u8>,
    commands: VecDeque<String>,
    directory: String,
    restart: usize,
    end: Option<usize>,
    renamed: Option<String>,
    transfer: Option<Transfer>,
    /// Of the data connection: whether it is there, what came on it, and whether that is all.
    has_data: bool,
    data: Vec<u8>,
    data_has_ended: bool,
}

impl Session {
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            manner,
            received: Vec::new(),
            commands: VecDeque::new(),
            directory: String::new(),
            restart: 0,
            end: None,
            renamed: None,
            transfer: None,
            has_data: false,
            data: Vec::new(),
            data_has_ended: false,
        }
    }

    pub(crate) fn greet(&self) -> Vec<Output> {
        vec![say(self.manner.banner)]
    }

    /// Bytes of commands have come: returns those that are whole now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.received.extend_from_slice(bytes);
        let mut commands = Vec::new();
        while let Some(end) = self.received.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
            commands.push(String::from_utf8(line).unwrap());
        }
        self.commands.extend(commands.iter().cloned());
        commands
    }

    /// The data connection is there.
    pub(crate) fn data_stands(&mut self, tree: &mut Tree) -> Vec<Output> {
        self.has_data = true;
        self.work(tree)
    }

    /// Bytes on it; none are its end, and `None` is a reset.
    pub(crate) fn data_came(&mut self, tree: &mut Tree, bytes: Option<Vec<u8>>) -> Vec<Output> {
        match bytes {
            Some(bytes) if bytes.is_empty() => self.data_has_ended = true,
            Some(bytes) => self.data.extend(bytes),
            None => {
                self.forget_data();
                if let Some(Transfer::Sending | Transfer::Closing | Transfer::Store { .. }) = self.transfer.take() {
                    let mut output = vec![Output::EndData, say("426 You went")];
                    output.extend(self.work(tree));
                    return output;
                }
            }
        }
        self.work(tree)
    }

    /// All bytes of a transfer have gone.
    pub(crate) fn data_sent(&mut self, tree: &mut Tree) -> Vec<Output> {
        self.transfer = Some(Transfer::Closing);
        self.work(tree)
    }

    /// Does what can be done with what has come.
    pub(crate) fn work(&mut self, tree: &mut Tree) -> Vec<Output> {
        let mut output = Vec::new();
        loop {
            self.go_on(tree, &mut output);
            if self.transfer.is_some() && !self.manner.answers_during_transfers {
                return output;
            }
            let Some(command) = self.commands.pop_front() else { return output };
            self.obey(&command, tree, &mut output);
        }
    }

    /// The transfer, as far as it gets.
    fn go_on(&mut self, tree: &mut Tree, output: &mut Vec<Output>) {
        if !self.has_data {
            return;
        }
        match self.transfer.take() {
            Some(Transfer::Send(bytes)) => {
                output.extend([say("150 Here it comes"), Output::Data(bytes)]);
                self.transfer = Some(Transfer::Sending);
            }
            Some(Transfer::Closing) if self.data_has_ended || !self.manner.holds_completion => {
                output.extend([Output::EndData, say("226 Done")]);
                self.forget_data();
            }
            Some(Transfer::Store { path, kept, has_begun }) => {
                if !has_begun {
                    output.push(say("150 Go on"));
                }
                if self.data_has_ended {
                    put(tree, &path, [kept, std::mem::take(&mut self.data)].concat());
                    output.extend([Output::EndData, say("226 Done")]);
                    self.forget_data();
                } else {
                    self.transfer = Some(Transfer::Store { path, kept, has_begun: true });
                }
            }
            other => self.transfer = other,
        }
    }

    fn forget_data(&mut self) {
        (self.has_data, self.data_has_ended) = (false, false);
        self.data.clear();
    }

    fn obey(&mut self, command: &str, tree: &mut Tree, output: &mut Vec<Output>) {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "QUIT" => output.extend([say("221 Bye"), Output::Close]),
            "EPSV" => {
                if self.transfer.take().is_some() {
                    output.extend([Output::EndData, say("426 Another port was asked for")]);
                }
                self.forget_data();
                output.push(Output::Listen);
            }
            "RETR" => {
                let (from, end) = (std::mem::take(&mut self.restart), self.end.take());
                match tree.file(&self.resolve(argument)) {
                    Some(file) => {
                        let bytes = &file.bytes[..end.map_or(file.bytes.len(), |end| end.min(file.bytes.len()))];
                        self.transfer = Some(Transfer::Send(bytes.get(from..).unwrap_or_default().to_vec()));
                    }
                    None => output.push(say("550 No such file")),
                }
            }
            "LIST" => self.transfer = Some(Transfer::Send(self.lines(tree, &self.directory, argument == "-a"))),
            "MLSD" if self.manner.has_facts => {
                let is_shown = |node: &Node| !self.manner.hides_links || !matches!(node, Node::Link(_));
                let entries = tree.entries(&self.directory).into_iter().filter(|(_, node)| is_shown(node));
                let lines: String = entries.map(|(name, node)| format!("{}{name}\r\n", facts(&node))).collect();
                self.transfer = Some(Transfer::Send(lines.into_bytes()));
            }
            "STOR" | "APPE" => self.store(verb, argument, tree, output),
            _ => output.push(Output::Reply(self.answer(verb, argument, tree))),
        }
    }

    fn lines(&self, tree: &Tree, directory: &str, shows_dots: bool) -> Vec<u8> {
        let hides_none = shows_dots || !self.manner.takes_options;
        let entries = tree.entries(directory).into_iter().filter(|(name, _)| hides_none || !name.starts_with('.'));
        let mut lines: String =
            entries.map(|(name, node)| format!("{}\r\n", line(Dialect::Unix, &name, &node, 0))).collect();
        if shows_dots && self.manner.takes_options {
            for name in ["..", "."] {
                lines.insert_str(0, &format!("{}\r\n", line(Dialect::Unix, name, &Node::Directory, 0)));
            }
        }
        lines.into_bytes()
    }

    fn store(&mut self, verb: &str, argument: &str, tree: &mut Tree, output: &mut Vec<Output>) {
        let path = self.resolve(argument);
        if !has_parent(tree, &path) || tree.is_directory(&path) {
            return output.push(say("553 Not there"));
        }
        let restart = std::mem::take(&mut self.restart);
        let mut kept = tree.file(&path).map(|file| file.bytes.clone()).unwrap_or_default();
        if verb == "STOR" {
            kept.truncate(restart);
        }
        put(tree, &path, kept.clone());
        self.transfer = Some(Transfer::Store { path, kept, has_begun: false });
    }

    /// The path in the tree that an argument means.
    fn resolve(&self, argument: &str) -> String {
        let whole =
            if argument.starts_with('/') { argument.to_owned() } else { format!("{}/{argument}", self.directory) };
        whole.trim_end_matches("/.").trim_end_matches('/').to_owned()
    }

    /// Commands of one reply.
    fn answer(&mut self, verb: &str, argument: &str, tree: &mut Tree) -> String {
        let path = self.resolve(argument);
        let node = tree.get(&path).cloned();
        match (verb, node) {
            ("USER", _) => "331 Password?".into(),
            ("PASS", _) => "230 Welcome".into(),
            ("TYPE" | "NOOP" | "OPTS" | "CLNT", _) => "200 OK".into(),
            ("FEAT", _) => format!("211-Features:\r\n{}211 End", self.manner.features),
            ("PWD", _) => format!("257 \"{}\"", if self.directory.is_empty() { "/" } else { &self.directory }),
            ("REST", _) => {
                self.restart = argument.parse().unwrap();
                format!("350 Going on at {argument}")
            }
            ("RANG", _) if self.manner.features.contains("RANG") => {
                let (from, to) = argument.split_once(' ').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                (self.restart, self.end) = (from, Some(to + 1));
                "350 Go on".into()
            }
            ("CWD", Some(Node::Directory)) => {
                self.directory = path;
                "250 OK".into()
            }
            ("STAT", _) if !argument.is_empty() => self.status(argument, tree),
            ("SIZE", Some(Node::File(file))) => format!("213 {}", file.bytes.len()),
            ("MDTM", Some(Node::File(file))) => format!("213 {}", compact_time(file.modified)),
            ("MLST", Some(node)) if self.manner.has_facts => format!("250-Facts\r\n {}{path}\r\n250 End", facts(&node)),
            ("MLST", _) if !self.manner.has_facts => "500 Unknown command".into(),
            ("MKD", None) if has_parent(tree, &path) => {
                tree.put(&path, Node::Directory);
                format!("257 \"{path}\" made")
            }
            ("MKD", _) => "550 File exists".into(),
            ("DELE", Some(Node::File(_) | Node::Link(_))) => {
                tree.remove(&path);
                "250 Gone".into()
            }
            ("RMD", Some(Node::Directory)) if tree.entries(&path).is_empty() => {
                tree.remove(&path);
                "250 Gone".into()
            }
            ("RNFR", Some(_)) => {
                self.renamed = Some(path);
                "350 To what?".into()
            }
            ("RNTO", node) => match self.renamed.take() {
                Some(from) if node != Some(Node::Directory) && has_parent(tree, &path) => {
                    tree.rename(&from, &path);
                    "250 Renamed".into()
                }
                _ => "553 No".into(),
            },
            ("MFMT", Some(Node::File(_))) if self.manner.features.contains("MFMT") => "500 Not yet".into(),
            ("SIZE" | "MDTM" | "MLST" | "CWD" | "DELE" | "RMD" | "RNFR", _) => "550 No such file or directory".into(),
            _ => "502 Not here".into(),
        }
    }

    /// The listing of a directory, as a reply.
    fn status(&self, argument: &str, tree: &Tree) -> String {
        let (shows_dots, argument) = match argument.split_once(' ') {
            Some(("-a", path)) if self.manner.takes_options => (true, path),
            _ => (false, argument),
        };
        if !tree.is_directory(&self.resolve(argument)) {
            return "550 No such file".into();
        }
        let lines = self.lines(tree, &self.resolve(argument), shows_dots);
        format!("213-Status follows:\r\n{}213 End of status", String::from_utf8(lines).unwrap())
    }
}

fn say(text: &str) -> Output {
    Output::Reply(text.to_owned())
}

fn put(tree: &mut Tree, path: &str, bytes: Vec<u8>) {
    tree.put(path, Node::File(File { bytes, modified: jiff::Timestamp::now().as_second() }));
}

fn has_parent(tree: &Tree, path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(parent, _)| tree.is_directory(parent))
}
