//! A mount's status as people read it, and sizes and times in their units.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::status::{ConnectionStatus, DirtyStatus, JournalStatus, LostStatus, OperationStatus};
use crate::control::{Status, Unsaved};

/// Files that are named for people; more only scroll away what matters.
const FILES_SHOWN_MAX: usize = 20;

/// Kinds of operations in one line.
const KINDS_A_LINE: usize = 4;

/// The whole of it, in lines.
pub(super) fn status(status: &Status, now: SystemTime) -> String {
    let caches = &status.caches;
    let mut lines = vec![format!("{}  {}", status.mountpoint, status.server)];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
    line("user", status.user.clone());
    line("mounted", mounted(status, now));
    if let Some(connections) = &status.connections {
        line("connections", connection_line(connections));
        line("encryption", connections.encryption.clone().unwrap_or_else(|| "none, all is clear text".into()));
        operation_lines(connections).into_iter().for_each(|(name, text)| line(name, text));
        if let Some(failure) = &connections.login_failure {
            line("", format!("the last login failed: {failure}"));
        }
    }
    line("waiting", operation_line(&status.operations));
    line(
        "caches",
        format!(
            "{} of {} listing entries, {} of {} of content",
            caches.listing_entries,
            caches.listing_entries_max,
            bytes(caches.block_bytes as u64),
            bytes(caches.block_bytes_max as u64)
        ),
    );
    if let (Some(held), Some(held_max), Some(files)) = (caches.disk_bytes, caches.disk_bytes_max, caches.disk_files) {
        line("cache directory", format!("{} of {}, of {}", bytes(held), bytes(held_max), count(files, "file")));
    }
    line("open", format!("{}, {}", count(status.open.files, "file"), directories(status.open.directories)));
    line("durability", durability_line(status));
    if let Some(journal) = &status.journal {
        line("journal", journal_line(journal));
        if let Some(reason) = &journal.paused_by {
            line("", format!("nothing is delivered at the moment: {reason}"));
        }
        if journal.set_aside_count > 0 {
            line("set aside", format!("{} in {}", count(journal.set_aside_count, "file"), journal.set_aside_directory));
            set_aside_names(journal).into_iter().for_each(|name| line("", name));
        }
    }
    if status.lost.count > 0 {
        line("given up", lost_line(&status.lost));
    }
    line("not stored", dirty_line(&status.dirty));
    lines.extend(files(&status.dirty.files, status.dirty.count).into_iter().map(|file| format!("    {file}")));
    lines.join("\n")
}

/// What the server was asked for, and how long over the wire that took.
fn operation_lines(connections: &ConnectionStatus) -> Vec<(&'static str, String)> {
    let kinds = connections.operations.iter().filter(|(_, operation)| operation.count > 0);
    let parts: Vec<String> = kinds
        .map(|(kind, operation)| format!("{kind} {} in {}", operation.count, trips(operation.round_trips)))
        .collect();
    let names = std::iter::once("asked").chain(std::iter::repeat(""));
    names.zip(parts.chunks(KINDS_A_LINE).map(|parts| parts.join(", "))).collect()
}

fn trips(count: u64) -> String {
    format!("{count} round trip{}", if count == 1 { "" } else { "s" })
}

fn durability_line(status: &Status) -> String {
    let text = match (status.durability.as_str(), status.fsync.as_str(), &status.journal) {
        ("journal", "local", _) => "close() and fsync() return when it is in the journal",
        ("journal", ..) => "close() returns when it is in the journal, fsync() when it is on the server",
        (_, _, Some(_)) => {
            "close() and fsync() return when it is on the server; the journal keeps what could not be stored"
        }
        (_, _, None) => "close() and fsync() return when it is on the server; there is no journal",
    };
    text.into()
}

fn journal_line(journal: &JournalStatus) -> String {
    let pending = match journal.pending_count {
        0 => "nothing waits".into(),
        pending => format!("{}, {} to be delivered", count(pending, "file"), bytes(journal.pending_bytes)),
    };
    format!("{pending}; in {}", journal.directory)
}

/// What was set aside, by its names in its folder.
fn set_aside_names(journal: &JournalStatus) -> Vec<String> {
    let name = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut names: Vec<String> = journal.set_aside.iter().take(FILES_SHOWN_MAX).map(name).collect();
    let hidden = journal.set_aside_count.saturating_sub(names.len());
    if hidden > 0 {
        names.push(format!("and {hidden} more"));
    }
    names
}

fn lost_line(lost: &LostStatus) -> String {
    let paths = lost.files.iter().map(|file| file.path.clone());
    let hidden = lost.count.saturating_sub(lost.files.len());
    let more = if hidden > 0 { format!(", and {hidden} before them") } else { String::new() };
    format!("{} since the mount began: {}{more}", count(lost.count, "file"), some_of(paths))
}

/// Names in one line; where there are many, the first of them.
pub(super) fn some_of(names: impl ExactSizeIterator<Item = String>) -> String {
    let hidden = names.len().saturating_sub(FILES_SHOWN_MAX);
    let shown: Vec<String> = names.take(FILES_SHOWN_MAX).collect();
    let more = if hidden > 0 { format!(", and {hidden} more") } else { String::new() };
    shown.join(", ") + &more
}

/// Files that are not on the server, a line for each, and one for those that are not shown.
pub(super) fn files(files: &[Unsaved], count: usize) -> Vec<String> {
    let mut lines: Vec<String> = files.iter().take(FILES_SHOWN_MAX).map(file).collect();
    let hidden = count.saturating_sub(lines.len());
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    lines
}

/// Some files below a line that says what they are.
pub(super) fn titled(what: &str, some: &[Unsaved], all: usize) -> Vec<String> {
    let mut lines = vec![format!("{}: {what}", count(all, "file"))];
    lines.extend(files(some, all));
    lines
}

/// `3 files`.
pub(super) fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `512 B`, `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `42 s`, `3 min`, `5 h 10 min`, `2 d 3 h`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn directories(count: usize) -> String {
    if count == 1 { "1 directory".into() } else { format!("{count} directories") }
}

fn mounted(status: &Status, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let at = i64::try_from(status.mounted_at).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let at = at.map_or_else(String::new, |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %T").to_string());
    let mut text =
        format!("{at}, {} ago; process {}", duration(now.saturating_sub(status.mounted_at)), status.process_id);
    if status.ending {
        text.push_str("; unmounted, and ending when all is stored");
    }
    text
}

fn connection_line(connections: &ConnectionStatus) -> String {
    let mut parts = Vec::new();
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    part(usize::from(connections.shared), "for questions");
    part(connections.reading, "reading");
    part(connections.ahead, "fetching ahead");
    part(connections.writing, "writing");
    part(connections.listing, "listing");
    part(connections.idle, "idle");
    part(connections.logging_in, "logging in");
    let mut text = if parts.is_empty() { String::from("none") } else { parts.join(", ") };
    let _ = write!(text, "; at most {}", connections.ceiling);
    if connections.ceiling < connections.ceiling_max {
        let _ = write!(text, " (the server lets us have no more; {} are wanted)", connections.ceiling_max);
    }
    if connections.waiting > 0 {
        let _ = write!(text, "; {} for one", wait(connections.waiting));
    }
    text
}

fn wait(count: usize) -> String {
    if count == 1 { "1 waits".into() } else { format!("{count} wait") }
}

fn operation_line(operations: &OperationStatus) -> String {
    match (operations.waiting, operations.oldest_seconds, &operations.oldest) {
        (0, ..) => "nothing".into(),
        (waiting, Some(seconds), Some(oldest)) => {
            format!("{}; the oldest ({oldest}) for {seconds:.1} s", count(waiting, "operation"))
        }
        (waiting, ..) => count(waiting, "operation"),
    }
}

fn dirty_line(dirty: &DirtyStatus) -> String {
    if dirty.count == 0 { "nothing".into() } else { format!("{}, {}", count(dirty.count, "file"), bytes(dirty.bytes)) }
}

fn file(file: &Unsaved) -> String {
    let mut text = format!("{}  {}, for {}", file.path, bytes(file.bytes), duration(file.dirty_seconds));
    if file.sent > 0 {
        let _ = write!(text, ", {} sent", bytes(file.sent));
    }
    if file.in_journal {
        text.push_str(", in the journal");
    }
    if file.open {
        text.push_str(", open");
    }
    if let Some(error) = &file.error {
        let _ = write!(text, "; last attempt: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::OperationTraffic;
    use crate::control::status::{CacheStatus, OpenStatus};

    #[test]
    fn sizes_and_times_are_in_units_people_read() {
        for (value, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in [(59, "59 s"), (60, "1 min"), (5 * 3600 + 600, "5 h 10 min"), (183_600, "2 d 3 h")] {
            assert_eq!(duration(value), text);
        }
    }

    #[test]
    fn status_shows_what_is_wrong() {
        let file = Unsaved {
            path: "/a".into(),
            bytes: 2048,
            dirty_seconds: 12,
            open: true,
            error: Some("552 Quota.".into()),
            sent: 1024,
            in_journal: true,
        };
        let journal = JournalStatus {
            directory: "/state/h".into(),
            pending_count: 2,
            pending_bytes: 1024,
            paused_by: Some("no route".into()),
            set_aside_directory: "/state/h/set-aside".into(),
            set_aside_count: 2,
            set_aside: vec!["/state/h/set-aside/1-1-b".into()],
        };
        let list = OperationTraffic { count: 3, round_trips: 7, ..OperationTraffic::default() };
        let login = OperationTraffic { count: 2, round_trips: 1, ..OperationTraffic::default() };
        let connections = ConnectionStatus {
            operations: [("list".into(), list), ("login".into(), login)].into(),
            shared: true,
            reading: 2,
            waiting: 1,
            ceiling: 3,
            ceiling_max: 8,
            encryption: Some("TLS 1.3, certificate NOT checked (--insecure)".into()),
            login_failure: Some("421 Too many.".into()),
            ..ConnectionStatus::default()
        };
        let given = Status {
            mountpoint: "/mnt".into(),
            server: "ftp://h/".into(),
            user: "anna".into(),
            process_id: 7,
            mounted_at: 1_000_000_000,
            connections: Some(connections),
            operations: OperationStatus { waiting: 3, oldest_seconds: Some(4.26), oldest: Some("lookup".into()) },
            caches: CacheStatus { listing_entries: 5, listing_entries_max: 10, ..CacheStatus::default() },
            open: OpenStatus { files: 1, directories: 2 },
            durability: "journal".into(),
            fsync: "server".into(),
            lost: LostStatus { count: 2, files: vec![Unsaved { path: "/lost".into(), ..Unsaved::default() }] },
            dirty: DirtyStatus { count: 3, bytes: 4096, files: vec![file], ..DirtyStatus::default() },
            journal: Some(journal),
            ..Status::default()
        };
        let text = status(&given, UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_061));
        for words in [
            "/mnt  ftp://h/\n",
            "1 min ago; process 7",
            "1 for questions, 2 reading; at most 3 (the server lets us have no more; 8 are wanted); 1 waits for one",
            "the last login failed: 421 Too many.",
            "encryption   TLS 1.3, certificate NOT checked (--insecure)",
            "  asked        list 3 in 7 round trips, login 2 in 1 round trip\n",
            "3 operations; the oldest (lookup) for 4.3 s",
            "5 of 10 listing entries",
            "1 file, 2 directories",
            "3 files, 4.0 KiB",
            "  durability   close() returns when it is in the journal, fsync() when it is on the server\n",
            "  journal      2 files, 1.0 KiB to be delivered; in /state/h\n",
            "nothing is delivered at the moment: no route\n",
            "  set aside    2 files in /state/h/set-aside\n               1-1-b\n               and 1 more\n",
            "  given up     2 files since the mount began: /lost, and 1 before them\n",
            "    /a  2.0 KiB, for 12 s, 1.0 KiB sent, in the journal, open; last attempt: 552 Quota.\n    and 2 more",
        ] {
            assert!(text.contains(words), "{words}\nis missing in\n{text}");
        }
    }
}
