//! The mount is killed again and again, and each time everything that was promised must be there.
//!
//! Two programs work on a mount of a real server until its process is gone: killed at some instant, at a step of the local disk
//! (`FTPFS_TEST_DIE_AT`, only in builds with debug assertions) or at a step of the dialogue with the server (`relay`). Then
//! - no name on the server has a content that was never complete, but for what docs/writing.md says of new files and appends;
//! - the next mount shows what was promised, and nothing else;
//! - once `ftpfs flush` has succeeded, the server has just that.
//!
//! `FTPFS_TESTS_SEED` repeats the plan and the calls of a run that failed, though not its instants.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's way to fail")]

#[path = "support/mount.rs"]
mod mounted;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/soak.rs"]
mod soak;

#[path = "crash/plan.rs"]
mod plan;
#[path = "crash/relay.rs"]
mod relay;
#[path = "crash/tree.rs"]
mod tree;
#[path = "crash/worker.rs"]
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use mounted::Mount;
use plan::{Plan, plans};
use relay::Relay;
use servers::{PASSWORD, Server, ServerKind, ServerSettings};
use soak::amount;
use tree::{Complete, Durability, Tree, look};
use worker::{Ended, Random, Worker};

const WORKERS: usize = 2;
const SLOW_KIB_PER_SECOND: u32 = 4096;
/// A process that is started inherits what others have open here, and closes it: that would be a close() that no worker knows of. So
/// one test runs after the other.
static ALONE: Mutex<()> = Mutex::new(());
/// How long the programs work at most, where nothing kills the mount before.
const WORK: Duration = Duration::from_millis(1500);

/// One server, and all that its mounts have promised.
struct Field {
    server: Server,
    relay: Relay,
    durability: Durability,
    state: TempDir,
    seed: u64,
    /// What may be in each worker's folder: one of these.
    outcomes: Vec<Vec<Tree>>,
    /// What may lie in the set-aside folder: so many contents that nobody has promised, and what lay there before.
    unpromised: usize,
    set_aside: BTreeSet<PathBuf>,
    plan: String,
    /// How often it was killed where.
    kills: BTreeMap<String, u32>,
    calls: u32,
    /// Where the logs of the mounts lie, the last one's last.
    logs: Vec<PathBuf>,
}

/// The mount has died while something was asked of it.
struct Died;

impl Field {
    fn mount(&mut self, disk: Option<&str>) -> Result<Mount, Died> {
        let url = self.server.url().replace(&self.server.port().to_string(), &self.relay.port().to_string());
        let state = format!("--state-dir={}", self.state.path().display());
        let mut options = vec![self.durability.option(), &state, "--timeout", "20s"];
        // The next life may have another one: what was promised is promised.
        if self.durability == Durability::Journal && self.logs.len() % 2 == 1 {
            options.push("--fsync=local");
        }
        let environment: Vec<_> = disk.iter().map(|disk| ("FTPFS_TEST_DIE_AT", *disk)).collect();
        match Mount::try_start_in(&url, PASSWORD, &options, &environment) {
            Ok(mount) => {
                self.logs.push(mount.log_path().to_owned());
                Ok(mount)
            }
            Err(refused) => match death(&refused.message) {
                Some(step) => Err(self.died(format!("{step}, before it was mounted"))),
                None => panic!("{}\nnot mounted, {}: {}", self.told(), refused.status, refused.message),
            },
        }
    }

    fn died(&mut self, at: String) -> Died {
        *self.kills.entry(at).or_default() += 1;
        Died
    }

    /// What somebody needs who looks into a failure.
    fn told(&self) -> String {
        format!(
            "{} with {}, FTPFS_TESTS_SEED={}, after {} kills, the last one {}; logs: {:?}",
            self.server.kind().name(),
            self.durability.option(),
            self.seed,
            self.kills.values().sum::<u32>(),
            self.plan,
            self.logs.iter().rev().take(3).collect::<Vec<_>>()
        )
    }

    /// One mount, from the recovery to its death.
    fn round(&mut self, number: usize, plan: &Plan) {
        let disk = plan.disk();
        if let Ok(mut mount) = self.mount(disk.as_deref())
            && self.recover(&mut mount).is_ok()
        {
            self.work_until_killed(mount, number, plan);
        }
        self.plan = format!("{plan:?}");
        self.relay.wait_until_quiet();
    }

    /// The mount must show what was promised, and deliver it.
    fn recover(&mut self, mount: &mut Mount) -> Result<(), Died> {
        for worker in 0..WORKERS {
            let folder = folder_of(mount.path(), worker);
            match look(&folder) {
                Ok(found) => self.object(worker, "the next mount", &found),
                Err(error) => {
                    return Err(self.died_or_failed(mount, &format!("looking at {}: {error}", folder.display())));
                }
            }
        }
        let output = Command::new("timeout")
            .args(["--signal=KILL", "90", env!("CARGO_BIN_EXE_ftpfs"), "flush", "--timeout", "60s"])
            .arg(mount.path())
            .output()
            .unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(self.died_or_failed(mount, &format!("ftpfs flush, {}: {said}", output.status)));
        }
        for worker in 0..WORKERS {
            let found = look(&folder_of(&self.server.folder(), worker)).unwrap();
            self.object(worker, "the server, after all was delivered,", &found);
            self.outcomes[worker] = vec![Tree::of(&found)];
        }
        self.look_at_set_aside();
        Ok(())
    }

    /// What went wrong is the fault of a mount that runs, and expected of one that does not.
    fn died_or_failed(&mut self, mount: &mut Mount, what: &str) -> Died {
        let deadline = Instant::now() + Duration::from_secs(5);
        while mount.is_running() {
            assert!(Instant::now() < deadline, "{}\n{what}", self.told());
            thread::park_timeout(Duration::from_millis(5));
        }
        match death(&mount.log()) {
            Some(step) => self.died(format!("{step}, while it recovered")),
            None => panic!("{}\n{what}\nand the mount has ended", self.told()),
        }
    }

    fn object(&self, worker: usize, whose: &str, found: &tree::Found) {
        let all = self.outcomes[worker].iter().map(|tree| tree.objections(found, self.durability));
        let all: Vec<_> = all.collect();
        assert!(
            all.iter().any(Vec::is_empty),
            "{}\nworker {worker}: {whose} has not what was promised; of {} right outcomes each is missed:\n{all:#?}",
            self.told(),
            all.len(),
        );
    }

    fn work_until_killed(&mut self, mut mount: Mount, number: usize, plan: &Plan) {
        let process = mount.process_id().unwrap();
        if let Plan::Wire(trap) = plan {
            self.relay.arm(trap.clone(), process);
        }
        let begun = Instant::now();
        let end = begun + WORK;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let random = Random::new(self.seed, (number * WORKERS + worker) as u64);
                let tree = self.outcomes[worker][0].clone();
                let worker = Worker::new(folder_of(mount.path(), worker), tree, random);
                thread::spawn(move || worker.work(end))
            })
            .collect();
        if let Plan::Instant(after) = plan {
            thread::sleep(*after);
            mount.kill();
        }
        let ended: Vec<Ended> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        if let Some((what, error)) = ended.iter().find_map(|ended| ended.failed.as_ref()) {
            let deadline = Instant::now() + Duration::from_secs(5);
            while mount.is_running() {
                assert!(Instant::now() < deadline, "{plan:?}: {}\n{what}: {error}", self.told());
                thread::park_timeout(Duration::from_millis(5));
            }
        }
        let by_relay = self.relay.disarm() && matches!(plan, Plan::Wire(_));
        let at = match (plan, death(&mount.log())) {
            (_, Some(step)) => step,
            (Plan::Wire(trap), None) if by_relay => format!("{} {:?}", trap.verb, trap.moment),
            (Plan::Instant(_), None) => "some instant".into(),
            _ if mount.is_running() => "the end of the work".into(),
            _ => panic!("{plan:?}: {}\nthe mount has ended by itself:\n{}", self.told(), mount.log()),
        };
        self.died(at);
        mount.kill();
        self.calls += ended.iter().map(|ended| ended.done).sum::<u32>();
        self.unpromised += ended.iter().map(|ended| ended.open.len() + 1).sum::<usize>();
        // Its files are closed when nobody can take that for a close().
        drop(mount);
        self.relay.wait_until_quiet();
        for (worker, ended) in ended.into_iter().enumerate() {
            self.look_at_server(worker, &ended);
            self.outcomes[worker] = ended.outcomes;
        }
    }

    /// Nothing on the server is half of something, at whatever point the mount was killed.
    fn look_at_server(&self, worker: usize, ended: &Ended) {
        let mut complete: Complete = ended.complete.clone();
        for tree in &self.outcomes[worker] {
            tree.files.values().flat_map(|file| &file.promised).for_each(|content| complete.insert(content));
        }
        let found = look(&folder_of(&self.server.folder(), worker)).unwrap();
        for (path, content) in &found.files {
            let may_be_there = || ended.outcomes.iter().any(|tree| tree.may_hold(path, content, self.durability));
            assert!(
                !path.contains(".conflict-") && (complete.contains(content) || may_be_there()),
                "{}\nworker {worker}: the server's {path} has {} bytes that were never a complete content; {:?}",
                self.told(),
                content.len(),
                ended.outcomes.iter().map(|tree| tree.files.get(path).map(tree::File::lens)).collect::<Vec<_>>()
            );
        }
    }

    /// Set aside is only what nobody has promised.
    fn look_at_set_aside(&mut self) {
        let now = set_aside(self.state.path());
        let new: Vec<_> = now.difference(&self.set_aside).collect();
        assert!(
            new.len() <= self.unpromised,
            "{}\n{} contents were set aside, and {} were open: {new:?}",
            self.told(),
            new.len(),
            self.unpromised
        );
        self.set_aside = now;
        self.unpromised = 0;
    }

    /// A last mount, which is not killed: nothing is left of all the others.
    fn end(mut self) {
        let Ok(mut mount) = self.mount(None) else { unreachable!("nothing was to kill it") };
        assert!(self.recover(&mut mount).is_ok(), "nothing was to kill it");
        // What interrupted uploads have left is cleared away in the background.
        let temporary = || look(&self.server.folder()).unwrap().temporary;
        let at_first = temporary().len();
        mount.unmount();
        let staging: Vec<_> = files_of(self.state.path(), "staging").collect();
        assert!(staging.is_empty(), "{}\nleft in the staging folder: {staging:?}", self.told());
        let kills: u32 = self.kills.values().sum();
        eprintln!(
            "{} {}: {kills} kills survived, {} calls, {} contents set aside, .part files {at_first} then {}; killed at {:#?}",
            self.server.kind().name(),
            self.durability.option(),
            self.calls,
            self.set_aside.len(),
            temporary().len(),
            self.kills
        );
        assert!(self.calls >= kills, "only {} calls were made in {kills} lives", self.calls);
    }
}

/// What the log says of a death that a step of the disk was to bring.
fn death(log: &str) -> Option<String> {
    log.lines().find_map(|line| line.split_once("dying for a test: ")).map(|(_, step)| {
        let (step, path) = step.split_once(" at=").unwrap_or((step, ""));
        let kind = ["journal.new", "journal", "set-aside", "staging"].into_iter().find(|kind| path.contains(kind));
        format!("{step} {}", kind.unwrap_or_default())
    })
}

fn folder_of(root: &Path, worker: usize) -> PathBuf {
    root.join(format!("w{worker}"))
}

/// The files in a folder of this name of the state directories.
fn files_of(state: &Path, folder: &str) -> impl Iterator<Item = PathBuf> {
    let folders: Vec<_> = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path().join(folder)).collect();
    folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten()).map(|entry| entry.unwrap().path())
}

/// The contents that were set aside, without their notes and without what was cut off the journal.
fn set_aside(state: &Path) -> BTreeSet<PathBuf> {
    let is_content = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        !name.ends_with(".txt") && !name.starts_with("journal-")
    };
    files_of(state, "set-aside").filter(is_content).collect()
}

fn seed(kind: ServerKind, durability: Durability) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    if let Ok(seed) = std::env::var("FTPFS_TESTS_SEED") {
        return seed.parse().unwrap();
    }
    // The same in each run, others on each server; others in each soak, which says which.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    amount(kind as u64 * 2 + durability as u64, random)
}

fn survives(kind: ServerKind, durability: Durability) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // One of them takes its time, so that more of the kills come in the middle of a transfer.
    let kib_per_second = (kind == ServerKind::Vsftpd).then_some(SLOW_KIB_PER_SECOND);
    let settings = ServerSettings { kib_per_second, ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    for worker in 0..WORKERS {
        fs::create_dir(folder_of(&server.folder(), worker)).unwrap();
        server.give(format!("w{worker}"));
    }
    let relay = Relay::start(server.port());
    let seed = seed(kind, durability);
    let mut field = Field {
        server,
        relay,
        durability,
        state: TempDir::with_prefix("ftpfs-state-").unwrap(),
        seed,
        outcomes: vec![vec![Tree::default()]; WORKERS],
        unpromised: 0,
        set_aside: BTreeSet::new(),
        plan: String::from("none"),
        kills: BTreeMap::new(),
        calls: 0,
        logs: Vec::new(),
    };
    for (number, plan) in plans(seed, amount(4, 40)).iter().enumerate() {
        field.round(number, plan);
    }
    field.end();
}

fn promises_to_the_server_outlive_kills(kind: ServerKind) {
    survives(kind, Durability::Server);
}

fn promises_of_the_journal_outlive_kills(kind: ServerKind) {
    survives(kind, Durability::Journal);
}

macro_rules! on_each_server {
    ($($server:ident = $kind:ident)*) => {$(
        mod $server {
            #[test]
            fn promises_to_the_server_outlive_kills() {
                crate::promises_to_the_server_outlive_kills(crate::ServerKind::$kind);
            }

            #[test]
            fn promises_of_the_journal_outlive_kills() {
                crate::promises_of_the_journal_outlive_kills(crate::ServerKind::$kind);
            }
        }
    )*};
}

on_each_server! { vsftpd = Vsftpd proftpd = Proftpd pure_ftpd = PureFtpd pyftpdlib = Pyftpdlib }
