//! What a step is, and how steps are chosen: few names and few open files, so that they meet often.

use proptest::prelude::*;

/// The paths that steps choose from; one has a file or nothing where it needs a directory.
pub(crate) const PATHS: [&str; 10] = ["a", "b", "d", "e", "d/a", "d/b", "d/e", "e/a", "d/e/a", "a/x"];
/// How many files a case has open at most.
pub(crate) const SLOTS_MAX: usize = 6;

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// 0 reads, 1 writes, 2 does both.
    pub(crate) access: u8,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) append: bool,
    /// O_SYNC: each write is on the server when it returns.
    pub(crate) sync: bool,
    pub(crate) directory: bool,
}

/// How many kinds of steps there are.
pub(crate) const STEP_KINDS: usize = 23;

/// One step; a path is an index of [`PATHS`], a slot chooses among what is open.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Open {
        path: usize,
        how: Opening,
    },
    Dup {
        slot: usize,
    },
    Close {
        slot: usize,
    },
    Pread {
        slot: usize,
        offset: u64,
        len: usize,
    },
    Pwrite {
        slot: usize,
        offset: u64,
        len: usize,
        seed: u8,
    },
    /// At the descriptor's own position, which its duplicates share.
    Read {
        slot: usize,
        len: usize,
    },
    Write {
        slot: usize,
        len: usize,
        seed: u8,
    },
    SeekEnd {
        slot: usize,
        back: u64,
    },
    Ftruncate {
        slot: usize,
        size: u64,
    },
    Truncate {
        path: usize,
        size: u64,
    },
    Allocate {
        slot: usize,
        offset: u64,
        len: u64,
        keep_size: bool,
    },
    Fsync {
        slot: usize,
        data_only: bool,
    },
    Fstat {
        slot: usize,
    },
    Stat {
        path: usize,
    },
    List {
        path: usize,
    },
    Rename {
        from: usize,
        to: usize,
        no_replace: bool,
    },
    Unlink {
        path: usize,
    },
    MakeDirectory {
        path: usize,
    },
    RemoveDirectory {
        path: usize,
    },
    Chmod {
        path: usize,
        mode: u32,
    },
    SetTime {
        path: usize,
        seconds: i64,
    },
    /// Through a shared map that outlives its descriptor.
    MapWrite {
        path: usize,
        offset: u64,
        len: usize,
        seed: u8,
        sync: bool,
    },
    MapRead {
        path: usize,
    },
}

/// Places in a file: near its begin, around a page and a block, and behind the length from which on files are streamed.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        5 => 0..60u64,
        2 => 4090..4102u64,
        2 => 131_066..131_078u64,
        1 => 1_048_570..1_048_580u64,
        1 => 0..1_700_000u64,
    ]
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..50usize, 2 => 4000..9000usize, 2 => 131_000..132_000usize, 1 => 500_000..1_300_000usize]
}

fn opening() -> impl Strategy<Value = Opening> {
    let rarely = |weight: f64| prop::bool::weighted(weight);
    let access = prop_oneof![2 => Just(0u8), 2 => Just(1), 4 => Just(2)];
    (access, rarely(0.7), rarely(0.1), rarely(0.2), rarely(0.15), rarely(0.05), rarely(0.05)).prop_map(
        |(access, create, exclusive, truncate, append, sync, directory)| Opening {
            access,
            create: create && !directory,
            // Without O_CREAT the meaning of O_EXCL is not defined.
            exclusive: exclusive && create && !directory,
            truncate,
            append,
            sync,
            directory,
        },
    )
}

/// What each case begins with, so that most steps find something to do.
pub(crate) fn prelude() -> Vec<Step> {
    let how = Opening {
        access: 2,
        create: true,
        exclusive: false,
        truncate: false,
        append: false,
        sync: false,
        directory: false,
    };
    let directories = [2, 3, 6].map(|path| Step::MakeDirectory { path });
    let files = [0, 5].map(|path| Step::Open { path, how });
    let writes = [0, 1].map(|slot| Step::Write { slot, len: 5000, seed: 7 });
    [&directories[..], &files, &writes].concat()
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    let slot = || 0..SLOTS_MAX;
    let descriptors = prop_oneof![
        12 => (path(), opening()).prop_map(|(path, how)| Step::Open { path, how }),
        2 => slot().prop_map(|slot| Step::Dup { slot }),
        5 => slot().prop_map(|slot| Step::Close { slot }),
        4 => (slot(), place(), len()).prop_map(|(slot, offset, len)| Step::Pread { slot, offset, len }),
        10 => (slot(), place(), len(), any::<u8>())
            .prop_map(|(slot, offset, len, seed)| Step::Pwrite { slot, offset, len, seed }),
        2 => (slot(), len()).prop_map(|(slot, len)| Step::Read { slot, len }),
        8 => (slot(), len(), any::<u8>()).prop_map(|(slot, len, seed)| Step::Write { slot, len, seed }),
        1 => (slot(), 0..20u64).prop_map(|(slot, back)| Step::SeekEnd { slot, back }),
        4 => (slot(), place()).prop_map(|(slot, size)| Step::Ftruncate { slot, size }),
        1 => (slot(), place(), 1..9000u64, any::<bool>())
            .prop_map(|(slot, offset, len, keep_size)| Step::Allocate { slot, offset, len, keep_size }),
        3 => (slot(), any::<bool>()).prop_map(|(slot, data_only)| Step::Fsync { slot, data_only }),
        3 => slot().prop_map(|slot| Step::Fstat { slot }),
    ];
    let names = prop_oneof![
        4 => path().prop_map(|path| Step::Stat { path }),
        2 => path().prop_map(|path| Step::List { path }),
        6 => (path(), path(), any::<bool>()).prop_map(|(from, to, no_replace)| Step::Rename { from, to, no_replace }),
        4 => path().prop_map(|path| Step::Unlink { path }),
        4 => path().prop_map(|path| Step::MakeDirectory { path }),
        2 => path().prop_map(|path| Step::RemoveDirectory { path }),
        2 => (path(), place()).prop_map(|(path, size)| Step::Truncate { path, size }),
        1 => (path(), prop::sample::select(vec![0o755, 0o700, 0o777, 0o666 | 0o700]))
            .prop_map(|(path, mode)| Step::Chmod { path, mode }),
        1 => (path(), 0..2_000_000_000i64).prop_map(|(path, seconds)| Step::SetTime { path, seconds }),
        2 => (path(), place(), len(), any::<u8>(), any::<bool>())
            .prop_map(|(path, offset, len, seed, sync)| Step::MapWrite { path, offset, len, seed, sync }),
        1 => path().prop_map(|path| Step::MapRead { path }),
    ];
    prop_oneof![2 => descriptors, 1 => names]
}

/// Bytes that tell where they come from.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| ((at % 251) as u8).wrapping_add(seed)).collect()
}
