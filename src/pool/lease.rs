//! A session as its borrower has it: shared for questions, or lent whole. Both go back to the pool when they are dropped.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pool::{Inner, Wake};
use super::session::Session;

/// The session that questions are pipelined on, for as long as this lives.
#[derive(Debug)]
pub struct SharedSession {
    session: Arc<Session>,
    inner: Arc<Inner>,
}

impl SharedSession {
    pub(super) fn new(session: Arc<Session>, inner: Arc<Inner>) -> Self {
        Self { session, inner }
    }
}

impl Deref for SharedSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        self.inner.give_back_shared(&self.session);
    }
}

/// A session lent whole, for as long as this lives. Where it is dropped out of step the session is closed.
#[derive(Debug)]
pub struct Lease {
    session: Arc<Session>,
    number: u64,
    wanted: Arc<AtomicBool>,
    discard: bool,
    inner: Arc<Inner>,
}

impl Lease {
    pub(super) fn new(session: Arc<Session>, number: u64, wanted: Arc<AtomicBool>, inner: Arc<Inner>) -> Self {
        Self { session, number, wanted, discard: false, inner }
    }

    /// Whether somebody waits for this session and none is free. Only reads are ever asked to give way.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Calls `wake` when [`Self::is_wanted`] turns true, from whichever thread waits; at once where it is true
    /// already. `wake` must not block.
    pub fn on_wanted(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let wake: Wake = Arc::from(wake);
        self.inner.on_wanted(self.number, Arc::clone(&wake));
        if self.is_wanted() {
            wake();
        }
    }

    /// What it was lent for turns out to take longer than its round trips: nobody reckons on its coming back soon any more.
    pub fn stays_long(&self) {
        self.inner.stays_long(self.number);
    }

    /// Closes the session instead of giving it back.
    pub fn discard(mut self) {
        self.discard = true;
    }

    /// Whether what was asked behind a listing ([`Self::start_listing`]) was not heard, or not found in step ([`Self::has_heard`]): what lies in
    /// file names may have shifted the replies. Such a session is of no more use.
    pub fn has_unheard(&self) -> bool {
        self.session.has_unheard.load(Ordering::Relaxed)
    }

    /// What was asked behind the last listing was heard, and is in step.
    pub fn has_heard(&self) {
        self.session.has_unheard.store(false, Ordering::Relaxed);
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.take_back(self.number, &self.session, self.discard);
    }
}
