//! Replies in and out of step.

use super::*;
use crate::protocol::Command;

fn reply(number: u16) -> Reply {
    Reply::new(ReplyCode::new(number).unwrap(), vec![Vec::new()])
}

fn pipeline(expectations: &[Expects]) -> Pipeline<usize> {
    let mut pipeline = Pipeline::new(64);
    for (tag, expects) in expectations.iter().enumerate() {
        pipeline.sent(tag, *expects).unwrap();
    }
    pipeline
}

/// What one reply is to one expectation: `None` for out of step.
fn fit(expects: Expects, number: u16) -> Option<bool> {
    match pipeline(&[expects]).received(reply(number)) {
        Ok(Received::Preliminary(..)) => Some(false),
        Ok(Received::Final(..) | Received::Marker { .. }) => Some(true),
        Ok(Received::Leftover(_) | Received::Closing(_)) | Err(_) => None,
    }
}

#[test]
fn each_command_gets_its_own_reply_in_order() {
    let mut pipeline = pipeline(&[Expects::Completion, Expects::Transfer, Expects::Completion]);
    assert_eq!(pipeline.received(reply(213)), Ok(Received::Final(0, reply(213))));
    assert_eq!(pipeline.first(), Some(&1));
    assert_eq!(pipeline.received(reply(150)), Ok(Received::Preliminary(&1, reply(150))));
    assert_eq!(pipeline.received(reply(150)), Ok(Received::Preliminary(&1, reply(150))));
    assert_eq!(pipeline.received(reply(226)), Ok(Received::Final(1, reply(226))));
    assert_eq!(pipeline.received(reply(550)), Ok(Received::Final(2, reply(550))));
    assert!(pipeline.is_empty());
}

#[test]
fn reply_to_nothing_is_out_of_step() {
    let error = pipeline(&[]).received(reply(226)).unwrap_err();
    assert_eq!(error, OutOfStep { reply: reply(226), expected: None });
}

#[test]
fn goodbye_closes_a_connection_with_nothing_in_flight_and_is_out_of_step_before_an_answer() {
    assert_eq!(pipeline(&[]).received(reply(221)), Ok(Received::Closing(reply(221))));
    assert!(pipeline(&[Expects::Transfer]).received(reply(221)).is_err());
    assert!(
        pipeline(&[Expects::Address])
            .received(reply(221))
            .is_ok_and(|received| !matches!(received, Received::Closing(_)))
    );
}

#[test]
fn second_final_reply_of_a_transfer_is_no_success_of_the_next_command() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Completion]);
    assert_eq!(pipeline.received(reply(426)), Ok(Received::Final(0, reply(426))));
    assert!(pipeline.received(reply(226)).is_err());
    assert_eq!(pipeline.drain().collect::<Vec<_>>(), [1]);
}

#[test]
fn completion_said_twice_is_passed_over_before_the_reply_to_epsv_and_only_there() {
    let mut pipeline = pipeline(&[Expects::Transfer]);
    assert_eq!(pipeline.received(reply(226)), Ok(Received::Final(0, reply(226))));
    pipeline.sent(1, Expects::Address).unwrap();
    assert_eq!(pipeline.received(reply(226)), Ok(Received::Leftover(reply(226))));
    // Once, and not before another transfer.
    assert!(pipeline.received(reply(226)).is_err());
    pipeline.drain().for_each(drop);
    pipeline.sent(2, Expects::Transfer).unwrap();
    assert_eq!(pipeline.received(reply(226)), Ok(Received::Final(2, reply(226))));
    pipeline.sent(3, Expects::Address).unwrap();
    assert_eq!(pipeline.received(reply(229)), Ok(Received::Final(3, reply(229))));
    assert!(pipeline.received(reply(226)).is_err());
}

#[test]
fn last_word_of_a_stopped_transfer_may_come_behind_the_marker_once() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Marker]);
    pipeline.stop(|tag| *tag == 0);
    assert!(matches!(pipeline.received(reply(257)), Ok(Received::Marker { .. })));
    assert_eq!(pipeline.received(reply(426)), Ok(Received::Leftover(reply(426))));
    assert!(pipeline.received(reply(426)).is_err());
}

#[test]
fn last_word_behind_the_marker_is_no_answer_to_the_question_for_an_address_behind_that() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Marker, Expects::Address]);
    pipeline.stop(|tag| *tag == 0);
    assert!(matches!(pipeline.received(reply(257)), Ok(Received::Marker { .. })));
    assert_eq!(pipeline.received(reply(426)), Ok(Received::Leftover(reply(426))));
    assert_eq!(pipeline.received(reply(229)), Ok(Received::Final(2, reply(229))));
}

#[test]
fn last_word_that_has_come_does_not_come_again_behind_the_marker() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Marker]);
    pipeline.stop(|tag| *tag == 0);
    assert_eq!(pipeline.received(reply(426)), Ok(Received::Leftover(reply(426))));
    assert!(matches!(pipeline.received(reply(257)), Ok(Received::Marker { .. })));
    assert!(pipeline.received(reply(426)).is_err());
}

#[test]
fn replies_to_questions_never_end_the_transfer_before_them() {
    for number in [211, 212, 213, 215, 220, 221, 227, 228, 229, 230, 234, 257] {
        assert_eq!(fit(Expects::Transfer, number), None, "{number}");
    }
    for number in [200, 202, 225, 226, 250] {
        assert_eq!(fit(Expects::Transfer, number), Some(true), "{number}");
    }
}

#[test]
fn codes_that_name_their_command_fit_no_other() {
    assert_eq!(fit(Expects::Completion, 150), None);
    assert_eq!(fit(Expects::Completion, 350), None);
    assert_eq!(fit(Expects::Completion, 226), None);
    assert_eq!(fit(Expects::Completion, 229), None);
    assert_eq!(fit(Expects::Transfer, 227), None);
    assert_eq!(fit(Expects::Transfer, 350), None);
    assert_eq!(fit(Expects::Address, 226), None);
}

#[test]
fn servers_freedom_within_a_class_is_taken() {
    for (expects, number) in [
        (Expects::Greeting, 220),
        (Expects::Greeting, 530),
        (Expects::Login, 230),
        (Expects::Login, 331),
        (Expects::Login, 332),
        (Expects::Completion, 202),
        (Expects::Completion, 250),
        (Expects::Completion, 257),
        (Expects::Completion, 450),
        (Expects::Intermediate, 350),
        (Expects::Intermediate, 550),
        (Expects::Address, 227),
        (Expects::Address, 229),
        (Expects::Address, 502),
        (Expects::Transfer, 250),
        (Expects::Transfer, 200),
        (Expects::Transfer, 425),
        (Expects::Lenient, 226),
        (Expects::Lenient, 213),
        (Expects::Marker, 257),
    ] {
        assert_eq!(fit(expects, number), Some(true), "{expects:?} {number}");
    }
    for (expects, number) in [(Expects::Greeting, 120), (Expects::Transfer, 125), (Expects::Lenient, 150)] {
        assert_eq!(fit(expects, number), Some(false), "{expects:?} {number}");
    }
}

#[test]
fn commands_expect_what_their_servers_answer() {
    let path = || crate::protocol::RemotePath::root();
    for (command, numbers) in [
        (Command::User(b"u"[..].into()), &[230, 331, 332, 530][..]),
        (Command::Rest(1), &[350, 501]),
        (Command::Rnfr(path()), &[350, 550]),
        (Command::Epsv, &[229, 227, 500]),
        (Command::Retr(path()), &[226, 250, 550]),
        (Command::Abor, &[225, 226, 426, 500]),
        (Command::Stat(Some(path())), &[211, 212, 213, 226]),
        (Command::Mlst(path()), &[250, 550]),
    ] {
        for number in numbers {
            assert_eq!(fit(command.expects(), *number), Some(true), "{command} {number}");
        }
    }
}

#[test]
fn service_not_available_closes_whatever_is_in_flight() {
    for expectations in [&[][..], &[Expects::Transfer], &[Expects::Marker], &[Expects::Greeting]] {
        assert_eq!(pipeline(expectations).received(reply(421)), Ok(Received::Closing(reply(421))));
    }
}

#[test]
fn stopped_transfer_ends_at_the_marker_however_many_replies_it_brings() {
    for leftovers in [&[][..], &[426], &[426, 226], &[426, 225], &[150], &[226, 225], &[500]] {
        let mut pipeline = pipeline(&[Expects::Transfer]);
        pipeline.received(reply(150)).unwrap();
        pipeline.stop(|_| true);
        pipeline.sent(7, Expects::Marker).unwrap();
        pipeline.sent(8, Expects::Completion).unwrap();
        for number in leftovers {
            assert_eq!(pipeline.received(reply(*number)), Ok(Received::Leftover(reply(*number))), "{leftovers:?}");
        }
        let marker = Received::Marker { stopped: vec![0], marker: 7, reply: reply(257) };
        assert_eq!(pipeline.received(reply(257)), Ok(marker));
        assert_eq!(pipeline.received(reply(200)), Ok(Received::Final(8, reply(200))));
    }
}

#[test]
fn leftover_that_comes_before_the_marker_is_sent_is_taken() {
    let mut pipeline = pipeline(&[Expects::Transfer]);
    pipeline.stop(|_| true);
    assert_eq!(pipeline.received(reply(426)), Ok(Received::Leftover(reply(426))));
    pipeline.sent(1, Expects::Marker).unwrap();
    assert!(matches!(pipeline.received(reply(257)), Ok(Received::Marker { marker: 1, .. })));
}

#[test]
fn transfer_that_ended_before_it_was_stopped_leaves_its_rest_to_the_marker() {
    let mut pipeline = pipeline(&[Expects::Transfer]);
    pipeline.received(reply(426)).unwrap();
    pipeline.stop(|_| true);
    pipeline.sent(1, Expects::Marker).unwrap();
    assert_eq!(pipeline.received(reply(226)), Ok(Received::Leftover(reply(226))));
    let marker = Received::Marker { stopped: Vec::new(), marker: 1, reply: reply(257) };
    assert_eq!(pipeline.received(reply(257)), Ok(marker));
}

#[test]
fn command_behind_a_stopped_transfer_is_given_up_with_it() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Address, Expects::Marker]);
    pipeline.stop(|tag| *tag < 2);
    for number in [426, 229] {
        assert_eq!(pipeline.received(reply(number)), Ok(Received::Leftover(reply(number))));
    }
    let marker = Received::Marker { stopped: vec![0, 1], marker: 2, reply: reply(257) };
    assert_eq!(pipeline.received(reply(257)), Ok(marker));
}

#[test]
fn answer_to_a_question_behind_a_stopped_transfer_is_not_its_last_word() {
    let is_last_word = |expectations: &[Expects], number| {
        let mut pipeline = pipeline(expectations);
        pipeline.stop(|_| true);
        pipeline.sent(7, Expects::Marker).unwrap();
        pipeline.is_last_word(reply(number).code())
    };
    for number in [225, 226, 426, 451] {
        assert!(is_last_word(&[Expects::Transfer, Expects::Completion, Expects::Address], number), "{number}");
    }
    assert!(is_last_word(&[Expects::Transfer, Expects::Completion], 425));
    for number in [250, 450, 550] {
        assert!(!is_last_word(&[Expects::Transfer, Expects::Completion], number), "{number}");
    }
    for number in [229, 250, 425, 450, 500, 550] {
        assert!(!is_last_word(&[Expects::Transfer, Expects::Address], number), "{number}");
    }
    assert!(!is_last_word(&[Expects::Transfer, Expects::Completion], 213));
    assert!(is_last_word(&[Expects::Completion, Expects::Address], 250), "the transfer had its reply before");
}

#[test]
fn stopped_transfer_with_anything_but_a_marker_behind_it_is_out_of_step() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Completion]);
    pipeline.stop(|tag| *tag == 0);
    assert!(pipeline.received(reply(257)).is_err());
}

#[test]
fn leftovers_have_a_bound() {
    let mut pipeline = pipeline(&[Expects::Transfer, Expects::Marker]);
    pipeline.stop(|tag| *tag == 0);
    for _ in 0..LEFTOVERS_MAX {
        assert!(pipeline.received(reply(150)).is_ok());
    }
    assert!(pipeline.received(reply(150)).is_err());
}

#[test]
fn full_pipeline_takes_no_more() {
    let mut pipeline = Pipeline::new(2);
    pipeline.sent(0, Expects::Completion).unwrap();
    assert_eq!(pipeline.room(), 1);
    pipeline.sent(1, Expects::Completion).unwrap();
    assert_eq!(pipeline.sent(2, Expects::Completion), Err(PipelineFull));
    assert_eq!(pipeline.len(), 2);
    pipeline.received(reply(200)).unwrap();
    assert_eq!(pipeline.room(), 1);
}
