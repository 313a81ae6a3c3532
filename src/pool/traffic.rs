//! What has gone over the wire, counted for the whole pool.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters, which any thread may add to.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    transfers: AtomicU64,
}

/// [`Traffic`] as of one moment, since the pool began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficCount {
    /// Bytes sent on data connections.
    pub sent: u64,
    /// Bytes received on data connections.
    pub received: u64,
    /// Transfers begun: uploads, downloads and listings.
    pub transfers: u64,
}

impl Traffic {
    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_transfer(&self) {
        self.transfers.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts as of now.
    pub fn count(&self) -> TrafficCount {
        TrafficCount {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            transfers: self.transfers.load(Ordering::Relaxed),
        }
    }
}
