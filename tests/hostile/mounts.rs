//! Through the kernel: names, links, sizes, times and contents that are not what they should be, in one mount of a server that
//! says of its root what a test tells it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::kibibytes;
use super::mounted::{Mount, shell};
use super::scripted_server::{Answer, ORDERLY, ScriptedServer};

/// A server whose root is listed as `lines`, and whose files all hold what `retr` sends.
fn serve(
    lines: Vec<Vec<u8>>,
    size: &'static str,
    retr: impl Fn(&mut dyn std::io::Write) + Send + Sync + 'static,
) -> ScriptedServer {
    let lines = lines.join(&b"\r\n"[..]);
    ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "FEAT" => dialogue.say("211-Features:\r\n MLST type*;size*;modify*;\r\n SIZE\r\n211 End"),
            "CWD" if argument != "/" => dialogue.say("550 No"),
            "MLST" if argument == "/" => dialogue.say("250-\r\n type=dir; /\r\n250 End"),
            "MLST" => {
                let name = argument.trim_start_matches('/');
                let is_name =
                    |line: &[u8]| line.strip_suffix(name.as_bytes()).is_some_and(|rest| rest.ends_with(b"; "));
                match lines.split(|byte| *byte == b'\n').find(|line| is_name(line.trim_ascii_end())) {
                    Some(line) => {
                        dialogue.say_bytes(b"250-\r\n ");
                        dialogue.say_bytes(line);
                        dialogue.say("\r\n250 End");
                    }
                    None => dialogue.say("550 No"),
                }
            }
            "SIZE" => dialogue.say(size),
            "MLSD" | "LIST" => {
                dialogue.say("150 Here it comes");
                let Some(mut data) = dialogue.accept_or_notice() else { return Answer::Close };
                let _ = data.write_all(if verb == "MLSD" { &lines } else { b"" });
                drop(data);
                dialogue.say("226 Done");
            }
            "RETR" => {
                dialogue.say("150 Here it comes");
                let Some(mut data) = dialogue.accept_or_notice() else { return Answer::Close };
                retr(&mut data);
                drop(data);
                dialogue.say("226 Done");
            }
            _ => return Answer::Default,
        }
        Answer::Done
    })
}

fn mount(server: &ScriptedServer, options: &[&str]) -> Mount {
    let url = format!("ftp://tester@127.0.0.1:{}/", server.port());
    let short = ["--timeout=6s", "--reply-timeout=3s", "--data-timeout=3s", "--shutdown-timeout=3s"];
    Mount::try_start(&url, "password", &[&short, options].concat())
        .unwrap_or_else(|refused| panic!("{}: {}", refused.status, refused.message))
}

fn names(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
    names.sort();
    names
}

#[test]
fn names_that_lead_elsewhere_are_not_there() {
    let longest = vec![b'n'; 255];
    let lines = [
        &b"type=file;size=1; good"[..],
        &[&b"type=file;size=1; "[..], &longest].concat(),
        &[&b"type=file;size=1; "[..], &[b'm'; 256]].concat(),
        &[&b"type=file;size=1; "[..], &[b'l'; 60_000]].concat(),
        b"type=file;size=1; ../up",
        b"type=file;size=1; /etc/passwd",
        b"type=file;size=1; a/b",
        b"type=file;size=1; ..",
        b"type=dir; .",
        b"type=dir; ..",
        b"type=file;size=1; nul\0byte",
        b"type=file;size=1; carriage\rreturn",
        b"type=file;size=1; ",
        b"type=cdir; a lie",
        b"type=pdir; another lie",
        b"type=file;size=1; \xff\xfe",
    ];
    let server = serve(lines.iter().map(|line| line.to_vec()).collect(), "213 1", |data| {
        let _ = data.write_all(b"x");
    });
    let mount = mount(&server, &[]);
    assert_eq!(names(mount.path()), [&b"good"[..], &longest, b"\xff\xfe"]);
    assert_eq!(fs::read(mount.path().join("good")).unwrap(), b"x");
    mount.unmount();
}

#[test]
fn links_lead_nowhere_out_of_the_mount() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret").unwrap();
    let link = |target: &str, name: &str| format!("type=OS.unix=slink:{target}; {name}").into_bytes();
    let secret = secret.path().to_str().unwrap();
    let lines = vec![
        b"type=file;size=1; good".to_vec(),
        link("good", "inside"),
        link("/good", "absolute"),
        link(secret, "out"),
        link(&format!("../../../../../..{secret}"), "climbing"),
        link(".", "here"),
        link(&format!("here/../../../../../..{secret}"), "winding"),
        link("inside", "twice"),
    ];
    let server = serve(lines.clone(), "213 1", |data| {
        let _ = data.write_all(b"x");
    });
    let contained = mount(&server, &[]);
    for good in ["good", "inside", "absolute", "twice", "here/here/inside"] {
        assert_eq!(fs::read(contained.path().join(good)).unwrap(), b"x", "{good}");
    }
    for bad in ["out", "climbing", "winding", "here/climbing"] {
        assert!(contained.path().join(bad).symlink_metadata().unwrap().is_symlink(), "{bad}");
        assert!(fs::read(contained.path().join(bad)).is_err(), "{bad}");
        assert!(fs::write(contained.path().join(bad), "overwritten").is_err(), "{bad}");
    }
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    contained.unmount();
    let as_told = mount(&server, &["--links=as-told"]);
    assert_eq!(fs::read_to_string(as_told.path().join("out")).unwrap(), "secret");
    as_told.unmount();
}

#[test]
fn sizes_and_times_out_of_range_are_shown_as_something_and_harm_nobody() {
    let line = |facts: &str, name: &str| format!("type=file;{facts}; {name}").into_bytes();
    let lines = vec![
        line("size=18446744073709551615", "largest"),
        line("size=9223372036854775808", "over"),
        line("size=18446744073709551616", "more"),
        line("size=-1", "negative"),
        line("size=1e9", "float"),
        line("size=5;modify=99991231235960", "late"),
        line("size=5;modify=00000101000000", "early"),
        line("size=5;modify=20240230000000", "no-day"),
        line("size=5;modify=-0240101000000", "minus"),
        line("size=5;UNIX.mode=7777777777777", "mode"),
    ];
    let count = lines.len();
    let server = serve(lines, "213 18446744073709551615", |data| {
        let _ = data.write_all(b"bytes");
    });
    let mount = mount(&server, &[]);
    assert_eq!(names(mount.path()).len(), count);
    for entry in fs::read_dir(mount.path()).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        assert!(i64::try_from(metadata.size()).is_ok(), "{}: {}", path.display(), metadata.size());
        assert_eq!(metadata.mode() & !0o7777, 0o100_000, "{}", path.display());
        // Whatever comes of it, it comes, and in no more than was there.
        let mut first = [0; 64];
        let read = fs::File::open(&path).and_then(|mut file| file.read(&mut first));
        assert!(read.as_ref().map_or(true, |len| *len <= 5), "{}: {read:?}", path.display());
    }
    shell(mount.path(), "ls -l >/dev/null", &[]);
    let process = mount.process_id().unwrap();
    assert!(kibibytes(process, "VmHWM") < 150 << 10, "{} KiB", kibibytes(process, "VmHWM"));
    mount.unmount();
}

#[test]
fn file_of_fewer_bytes_than_promised_is_an_error_and_no_short_file() {
    let server = serve(vec![b"type=file;size=100000;modify=20240102030405; file".to_vec()], "213 100000", |data| {
        let _ = data.write_all(&[b'x'; 70_000]);
    });
    let mount = mount(&server, &[]);
    let read = fs::read(mount.path().join("file"));
    assert!(read.is_err(), "{} bytes", read.unwrap().len());
    mount.unmount();
}

#[test]
fn file_of_more_bytes_than_promised_is_never_more_than_was_promised() {
    let server = serve(vec![b"type=file;size=100000;modify=20240102030405; file".to_vec()], "213 100000", |data| {
        let piece = [b'x'; 64 << 10];
        while data.write_all(&piece).is_ok() {}
    });
    let mount = mount(&server, &[]);
    for _ in 0..3 {
        if let Ok(bytes) = fs::read(mount.path().join("file")) {
            assert_eq!(bytes.len(), 100_000);
        }
    }
    let process = mount.process_id().unwrap();
    assert!(kibibytes(process, "VmHWM") < 150 << 10, "{} KiB", kibibytes(process, "VmHWM"));
    mount.unmount();
}

#[test]
fn file_that_is_another_one_by_the_time_it_is_read_is_no_mixture() {
    // Listed with one size, and said to have another when it is opened: what is read is all of one of the two.
    let server = serve(vec![b"type=file;size=10;modify=20240102030405; file".to_vec()], "213 20", |data| {
        let _ = data.write_all(&[b'y'; 20]);
    });
    let mount = mount(&server, &["--attr-timeout=0", "--dir-timeout=0"]);
    for _ in 0..3 {
        if let Ok(bytes) = fs::read(mount.path().join("file")) {
            assert!(bytes == [b'y'; 20] || bytes == [b'y'; 10], "{}", bytes.escape_ascii());
            assert_eq!(bytes.len(), 20, "cut to the size of another file");
        }
    }
    mount.unmount();
}

#[test]
fn file_that_comes_drop_by_drop_is_given_up_in_time() {
    let server = serve(vec![b"type=file;size=100000;modify=20240102030405; file".to_vec()], "213 100000", |data| {
        while data.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    let mount = mount(&server, &[]);
    let begin = Instant::now();
    assert!(fs::read(mount.path().join("file")).is_err());
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    mount.unmount();
}
