//! What has gone over the wire, counted for the whole pool, and for each kind of operation.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::connection::{Clock, Tally};

/// What the server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Connecting and logging in.
    Login,
    /// A directory's listing.
    List,
    /// One entry.
    Stat,
    /// Exact times of files.
    Times,
    /// A RETR, from the question to the last byte that was wanted.
    Read,
    /// The end of a RETR that was stopped.
    Stop,
    /// A STOR or APPE, with the proof of what arrived.
    Write,
    /// Renaming.
    Rename,
    /// Removing a file or directory.
    Remove,
    /// Making a directory.
    MakeDirectory,
    /// Times, permissions, links.
    Set,
    /// Free space.
    Space,
    /// What nobody has asked for yet.
    Guess,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Login,
        Self::List,
        Self::Stat,
        Self::Times,
        Self::Read,
        Self::Stop,
        Self::Write,
        Self::Rename,
        Self::Remove,
        Self::MakeDirectory,
        Self::Set,
        Self::Space,
        Self::Guess,
    ];

    /// As the status shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Times => "times",
            Self::Read => "read",
            Self::Stop => "stop",
            Self::Write => "write",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDirectory => "mkdir",
            Self::Set => "set",
            Self::Space => "space",
            Self::Guess => "guess",
        }
    }
}

/// The counters, which any thread may add to.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    transfers: AtomicU64,
    on_spares: AtomicU64,
    operations: [OperationCounters; OperationKind::ALL.len()],
}

#[derive(Debug, Default)]
struct OperationCounters {
    count: AtomicU64,
    round_trips: AtomicU64,
    commands: AtomicU64,
    packets: AtomicU64,
    control_connections: AtomicU64,
    data_connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// [`Traffic`] as of one moment, since the pool began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrafficCount {
    /// Bytes sent on data connections.
    pub sent: u64,
    /// Bytes received on data connections.
    pub received: u64,
    /// Transfers begun: uploads, downloads and listings.
    pub transfers: u64,
    /// Those of them that began on a data connection opened ahead, and got on with it.
    pub on_spares: u64,
    /// What the operations of each kind have caused; those that there were none of are left out.
    pub operations: Vec<OperationCount>,
}

/// What the operations of one kind have caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationCount {
    /// Which kind.
    pub kind: OperationKind,
    /// How many there were.
    pub count: u64,
    /// What they have caused on the wire.
    pub tally: Tally,
}

/// One operation, which may be done in several parts, and by several threads.
#[derive(Debug)]
pub struct Operation {
    kind: OperationKind,
    clock: Clock,
    is_counted: bool,
}

thread_local! {
    static KIND: Cell<Option<OperationKind>> = const { Cell::new(None) };
}

/// Does `work`; whatever it asks the server for counts as `kind`.
pub fn counted_as<T>(kind: OperationKind, work: impl FnOnce() -> T) -> T {
    /// Also where `work` panics.
    struct Restore(Option<OperationKind>);
    impl Drop for Restore {
        fn drop(&mut self) {
            KIND.set(self.0);
        }
    }
    let _restore = Restore(KIND.replace(Some(kind)));
    work()
}

impl Operation {
    /// One that begins.
    pub fn new(kind: OperationKind) -> Self {
        Self { kind: KIND.get().unwrap_or(kind), clock: Clock::start(), is_counted: false }
    }

    /// Does a part of it.
    pub fn run<T>(&mut self, traffic: &Traffic, work: impl FnOnce() -> T) -> T {
        let (result, tally) = self.clock.count(work);
        if let Some(tally) = tally {
            traffic.count_operation(self.kind, u64::from(!self.is_counted), tally);
            self.is_counted = true;
        }
        result
    }
}

impl Traffic {
    /// Does `work`, which is one operation of a kind.
    pub fn run<T>(&self, kind: OperationKind, work: impl FnOnce() -> T) -> T {
        Operation::new(kind).run(self, work)
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_transfer(&self) {
        self.transfers.fetch_add(1, Ordering::Relaxed);
    }

    fn count_operation(&self, kind: OperationKind, count: u64, tally: Tally) {
        let Some(counters) = self.operations.get(kind as usize) else { return };
        let add = |counter: &AtomicU64, count: u64| counter.fetch_add(count, Ordering::Relaxed);
        add(&counters.count, count);
        add(&counters.round_trips, tally.round_trips);
        add(&counters.commands, tally.commands);
        add(&counters.packets, tally.packets);
        add(&counters.control_connections, tally.control_connections);
        add(&counters.data_connections, tally.data_connections);
        add(&counters.sent, tally.sent);
        add(&counters.received, tally.received);
    }

    pub(super) fn count_on_spare(&self) {
        self.on_spares.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as of now.
    pub fn count(&self) -> TrafficCount {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let operations = OperationKind::ALL.into_iter().zip(&self.operations).map(|(kind, counters)| OperationCount {
            kind,
            count: get(&counters.count),
            tally: Tally {
                round_trips: get(&counters.round_trips),
                commands: get(&counters.commands),
                packets: get(&counters.packets),
                control_connections: get(&counters.control_connections),
                data_connections: get(&counters.data_connections),
                sent: get(&counters.sent),
                received: get(&counters.received),
            },
        });
        TrafficCount {
            sent: get(&self.sent),
            received: get(&self.received),
            transfers: get(&self.transfers),
            operations: operations.filter(|operation| operation.count > 0).collect(),
            on_spares: get(&self.on_spares),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::tally;

    #[test]
    fn each_kind_has_its_own_place() {
        let traffic = Traffic::default();
        for (index, kind) in OperationKind::ALL.into_iter().enumerate() {
            traffic.run(kind, || tally::wait_round_trips(index as u64));
        }
        let counts = traffic.count().operations;
        let expected: Vec<_> = OperationKind::ALL.into_iter().zip(0..).collect();
        assert_eq!(counts.iter().map(|count| (count.kind, count.tally.round_trips)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn operation_in_parts_is_one() {
        let traffic = Traffic::default();
        let mut operation = Operation::new(OperationKind::Read);
        operation.run(&traffic, || tally::wait_round_trips(2));
        operation.run(&traffic, || tally::add(|tally| tally.received += 7));
        let count = traffic.count().operations[0];
        assert_eq!((count.count, count.tally.round_trips, count.tally.received), (1, 2, 7));
    }

    #[test]
    fn guess_counts_as_one_whatever_it_asks() {
        let traffic = Traffic::default();
        counted_as(OperationKind::Guess, || traffic.run(OperationKind::List, || ()));
        traffic.run(OperationKind::List, || ());
        let kinds: Vec<_> = traffic.count().operations.iter().map(|count| count.kind).collect();
        assert_eq!(kinds, [OperationKind::List, OperationKind::Guess]);
    }
}
