//! Exact modification times of many files: MDTM, pipelined.

use std::time::Instant;

use super::error::RemoteResult;
use super::refusal::{Meaning, meaning};
use super::server::Server;
use crate::protocol::command::Command;
use crate::protocol::timestamp::parse_mdtm_reply;
use crate::protocol::{Name, RemotePath, Timestamp};

/// How many questions are asked before the answers are looked at. The connection sends as many in one packet as it has
/// room for; a bound here lets other callers in between.
const BATCH_LEN: usize = 64;

impl Server {
    /// Asks for the modification time of each of `names`. Source: RFC 3659 §3 (MDTM).
    ///
    /// # Errors
    /// Where the server could not be asked.
    pub(super) fn times(
        &self,
        directory: &RemotePath,
        names: &[Name],
        deadline: Instant,
    ) -> RemoteResult<Vec<Option<Timestamp>>> {
        let mut times = Vec::with_capacity(names.len());
        for batch in names.chunks(BATCH_LEN) {
            if self.profile().mdtm.is_no() {
                break;
            }
            let questions: Vec<_> = batch.iter().map(|name| Command::Mdtm(directory.join(name))).collect();
            for reply in self.ask(&questions, deadline)? {
                if meaning(&reply) == Meaning::NotUnderstood {
                    self.profile().mdtm.learn_if(false);
                }
                times.push(parse_mdtm_reply(&reply));
            }
        }
        times.resize(names.len(), None);
        Ok(times)
    }
}
