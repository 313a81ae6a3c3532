//! Where a fact is shown: a server, its mount, a folder for what is backed up and for the program's own files, and what
//! breaks between them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cutter::{Cuts, Cutter};
use crate::mounted::{Mount, shell, try_shell};
use crate::servers::{Server, ServerKind, ServerSettings, USER};

/// How often a user tries again a program that failed with connections being cut.
const TRIES_MAX: u32 = 8;

/// What the mount was told to promise at close().
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The server has it.
    Server,
    /// It is in the journal on the local disk.
    Journal,
}

/// Where a fact is to be shown.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) server: ServerKind,
    pub(crate) durability: Durability,
}

/// The server, the mount, and folders for all that is local.
pub(crate) struct Place {
    setting: &'static Setting,
    mount: Option<Mount>,
    options: Vec<String>,
    cutter: Option<Cutter>,
    server: Server,
    work: TempDir,
    /// How often a program had to be started again.
    repeated: u32,
    /// How often a program said that it tries something again itself.
    retried: usize,
}

impl Place {
    /// `None` where the server or a program is not there, after saying so on the terminal.
    pub(crate) fn open(setting: &'static Setting, programs: &[&str]) -> Option<Self> {
        Self::open_with(setting, programs, None, &[])
    }

    /// As [`Self::open`], with a bad network between.
    pub(crate) fn open_with(
        setting: &'static Setting,
        programs: &[&str],
        cuts: Option<Cuts>,
        options: &[&str],
    ) -> Option<Self> {
        if !programs.iter().all(|program| is_there(program)) {
            return None;
        }
        let server = Server::start(setting.server, ServerSettings::default())?;
        let work = TempDir::with_prefix("ftpfs-backup-").unwrap();
        std::fs::create_dir(work.path().join("source")).unwrap();
        std::fs::create_dir(work.path().join("temporary")).unwrap();
        let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        match setting.durability {
            Durability::Server => {}
            Durability::Journal => options.push("--durability=journal".to_owned()),
        }
        // One journal for all mounts of this place, as a user has one.
        options.push(format!("--state-dir={}", work.path().join("state").display()));
        let cutter = cuts.map(|cuts| Cutter::open(server.port(), cuts));
        let mut place = Self {
            setting,
            mount: None,
            options: std::mem::take(&mut options),
            cutter,
            server,
            work,
            repeated: 0,
            retried: 0,
        };
        place.mount();
        // A program that is told to mount where it cannot says so, and a user tries again: that is shown elsewhere.
        if let Some(cutter) = &place.cutter {
            cutter.begin();
        }
        Some(place)
    }

    fn mount(&mut self) {
        let port = self.cutter.as_ref().map_or(self.server.port(), Cutter::port);
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.mount =
            Some(Mount::start_url(&self.server, &format!("ftp://{USER}@{}:{port}/", self.server.host()), &options));
    }

    /// The root of the mount.
    pub(crate) fn path(&self) -> &Path {
        self.mount.as_ref().unwrap().path()
    }

    /// What is backed up.
    pub(crate) fn source(&self) -> PathBuf {
        self.work.path().join("source")
    }

    /// A folder on the local disk.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Unmounts, and mounts anew: nothing that is in memory outlives it.
    pub(crate) fn remount(&mut self) {
        self.mount.take().unwrap().unmount();
        self.mount();
    }

    /// Kills the mount's process. What it has not brought to the server, or kept as it promised, is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.mount.take());
    }

    /// Kills the mount's process, ends all that breaks, and mounts anew: from here on nobody has to try anything again.
    pub(crate) fn kill_and_calm_down(&mut self) {
        self.kill();
        if let Some(cutter) = &self.cutter {
            cutter.calm_down();
        }
        self.mount();
    }

    /// A copy of what lies in the server's folder, once all that the mount has promised is there.
    pub(crate) fn copy_of_the_server(&self) -> PathBuf {
        let flushed = Command::new(env!("CARGO_BIN_EXE_ftpfs")).arg("flush").arg(self.path()).output().unwrap();
        assert!(flushed.status.success(), "ftpfs flush: {}", String::from_utf8_lossy(&flushed.stderr));
        let copy = self.work.path().join("server");
        shell(Path::new("/"), "rm -rf \"$2\"; cp -a \"$1\" \"$2\"", &[&self.server.folder(), &copy]);
        copy
    }

    /// Runs a script of bash in the local folder; in it `$mount`, `$source` and `$work` are what they say.
    ///
    /// # Panics
    /// With all that it wrote, where any command in it fails.
    pub(crate) fn run(&self, script: &str) -> String {
        shell(self.work(), &self.with_variables(script), &[])
    }

    /// As [`Self::run`]; where connections are being cut, a script that fails is run again after `mend`, as its user would.
    ///
    /// # Panics
    /// Where it goes on to fail.
    pub(crate) fn persist(&mut self, script: &str, mend: &str) -> String {
        if self.cutter.is_none() {
            return self.run(script);
        }
        for _ in 1..TRIES_MAX {
            let output = try_shell(self.work(), &self.with_variables(script), &[]);
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            self.retried += words.matches("retrying").count();
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            self.repeated += 1;
            self.say(&format!("`{}` is run again: {}, {}", last_line(script), output.status, last_line(&words)));
            let _ = try_shell(self.work(), &self.with_variables(mend), &[]);
        }
        self.run(script)
    }

    fn with_variables(&self, script: &str) -> String {
        // The folders' names are ours and hold nothing to be quoted.
        let mount = self.mount.as_ref().map_or(Path::new("/nonexistent"), Mount::path).display();
        let work = self.work().display();
        format!("export mount={mount} work={work} source={work}/source TMPDIR={work}/temporary\n{script}")
    }

    /// Whether connections are cut here, or were.
    pub(crate) fn is_cut(&self) -> bool {
        self.cutter.is_some()
    }

    /// Says on the terminal what was cut and tried again.
    pub(crate) fn report(&self, program: &str) {
        let tally = self.cutter.as_ref().map(Cutter::tally).unwrap_or_default();
        let (repeated, retried) = (self.repeated, self.retried);
        self.say(&format!("{program}: {tally}; runs repeated: {repeated}; retries by the program itself: {retried}"));
        assert!(self.cutter.is_none() || tally.cut() > 2, "nothing was shown: {tally}");
    }

    fn say(&self, words: &str) {
        let Setting { server, durability } = self.setting;
        let _ = writeln!(std::io::stderr(), "backups: {}, {durability:?}: {words}", server.name());
    }
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default().trim()
}

/// Whether this program is installed; says so on the terminal where it is not, or fails where it must be.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
        return true;
    }
    let needed = std::env::var_os("FTPFS_TESTS_NEED_SERVERS").is_some_and(|value| value == "1");
    assert!(!needed, "{program} is needed (FTPFS_TESTS_NEED_SERVERS=1) and not installed");
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {program}");
    false
}
