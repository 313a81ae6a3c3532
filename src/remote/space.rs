//! Free space: AVBL, or the words of SITE QUOTA.

use std::time::Instant;

use super::Space;
use super::error::RemoteResult;
use super::refusal::is_not_understood;
use super::server::{Server, is_done, parse_number};
use crate::pool::Verdict;
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::Reply;

impl Server {
    /// Asks how much can still be stored. No round trip once the server has shown that it does not say.
    ///
    /// # Errors
    /// Where the server could not be asked.
    pub(super) fn space(&self, directory: &RemotePath, deadline: Instant) -> RemoteResult<Option<Space>> {
        let (avbl, site_quota) = (&self.profile().avbl, &self.profile().site_quota);
        // Of a server that was never asked most have neither: that is found out at once.
        let asks_both = avbl.get() == Verdict::Unknown && !site_quota.is_no();
        let mut space = None;
        let mut quota_reply = None;
        if !avbl.is_no() {
            let mut commands = vec![Command::Avbl(directory.clone())];
            commands.extend(asks_both.then_some(Command::SiteQuota));
            let mut replies = self.ask(&commands, deadline)?.into_iter();
            if let Some(reply) = replies.next() {
                match parse_number(&reply) {
                    Some(available) => space = Some(Space { available, total: None }),
                    None if is_not_understood(&reply) || is_done(&reply) => avbl.learn_if(false),
                    None => {}
                }
            }
            quota_reply = replies.next();
        }
        if space.is_none() && !site_quota.is_no() {
            let reply = match quota_reply {
                Some(reply) => reply,
                None => self.ask_one(Command::SiteQuota, deadline)?,
            };
            space = if is_done(&reply) { parse_quota(&reply) } else { None };
            // A server without a quota for this account says so in a sentence, every time the same.
            site_quota.learn_if(space.is_some());
        }
        Ok(space)
    }
}

/// ProFTPD's mod_quotatab: `Uploaded Kb: 1234.50/5000.00`, used and limit in a unit of the administrator's choice.
fn parse_quota(reply: &Reply) -> Option<Space> {
    reply.lines().iter().find_map(|line| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let (unit, amounts) = line.trim().strip_prefix("uploaded ")?.split_once(':')?;
        let unit: f64 = match unit.trim() {
            "b" | "bytes" => 1.0,
            "kb" => 1024.0,
            "mb" => 1024.0 * 1024.0,
            "gb" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let (used, total) = amounts.trim().split_once('/')?;
        let bytes = |amount: &str| {
            let amount: f64 = amount.trim().parse().ok()?;
            (amount.is_finite() && amount >= 0.0).then_some((amount * unit) as u64)
        };
        let (used, total) = (bytes(used)?, bytes(total)?);
        Some(Space { available: total.saturating_sub(used), total: Some(total) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply::ReplyCode;

    fn quota(lines: &[&str]) -> Option<Space> {
        let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        parse_quota(&Reply::new(ReplyCode::new(200).unwrap(), lines))
    }

    #[test]
    fn quota_is_read_in_the_administrators_unit() {
        let lines =
            ["The current quota for this session are [current/limit]:", " Name: tester", "  Uploaded Kb:\t1.50/4.00"];
        assert_eq!(quota(&lines), Some(Space { available: 2560, total: Some(4096) }));
        assert_eq!(quota(&["  Uploaded bytes:\t5.00/4.00"]), Some(Space { available: 0, total: Some(4) }));
    }

    #[test]
    fn quota_without_limit_or_unit_says_nothing() {
        assert_eq!(quota(&["  Uploaded bytes:\tunlimited"]), None);
        assert_eq!(quota(&["  Uploaded files:\t1/2"]), None);
        assert_eq!(quota(&["  Uploaded bytes:\tnan/inf"]), None);
        assert_eq!(quota(&["No quota table"]), None);
    }
}
