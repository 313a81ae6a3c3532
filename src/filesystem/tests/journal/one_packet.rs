//! Deliveries whose last step sets the time and the permissions, too.

use super::*;
use crate::remote::memory::Operation;

fn able() -> Journaled {
    Journaled::new(|remote| remote.behave(|behaviour| behaviour.finish_sets_all = true))
}

#[test]
fn time_and_permissions_that_came_with_the_rename_are_not_set_again() {
    let mount = able();
    mount.cable(false);
    mount.put("f", "content");
    mount.set("f", set_time(5)).unwrap();
    mount.set("f", SetAttributes { mode: Some(0o600), ..SetAttributes::default() }).unwrap();
    mount.cable(true);
    mount.deliver();
    assert_eq!((mount.on_server("/f").as_str(), mount.remote.modified("/f")), ("content", Some(5)));
    assert_eq!(mount.remote.mode("/f"), Some(0o600));
    assert_eq!((mount.remote.calls(Operation::SetModified), mount.remote.calls(Operation::SetMode)), (0, 0));
    let shown = mount.find("f").unwrap();
    assert_eq!((shown.mtime, shown.mode & 0o777), (at(5), 0o600));
}

#[test]
fn time_and_permissions_set_while_their_file_is_on_its_way_are_those_it_gets() {
    let mount = able();
    mount.remote.hold(Operation::Write);
    mount.put("f", "content");
    assert!(mount.remote.wait_held(Operation::Write, 1));
    mount.set("f", set_time(5)).unwrap();
    mount.set("f", SetAttributes { mode: Some(0o600), ..SetAttributes::default() }).unwrap();
    mount.remote.let_go(Operation::Write);
    mount.deliver();
    assert_eq!((mount.remote.modified("/f"), mount.remote.mode("/f")), (Some(5), Some(0o600)));
}
