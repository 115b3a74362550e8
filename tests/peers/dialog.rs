//! Within a dialog, against SIPp: our own hold, offers that cross, early media.

use std::time::Duration;

use helpline::voice::{CallCommand, CallEvent};
use helpline_core::call::End;
use tokio::time::timeout;

use super::sip::{LIMIT, World, desk};
use crate::support::sipp::{Script, sdp};

const HUNG_UP: End = End::HungUp { by_customer: true };

/// Places a call, puts it on hold once it is answered, and takes it back after `held`.
async fn holding(script: Script, held: Option<Duration>) {
    let world = World::new().await;
    let sipp = world.script(script).await;
    let mut call = world.place_for("t", "greet", LIMIT).await;
    loop {
        let event = timeout(LIMIT, call.events.recv()).await.unwrap().unwrap();
        match event {
            CallEvent::Answered => break,
            CallEvent::Ended(report) => panic!("not answered: {report:?}"),
            _ => {}
        }
    }
    call.commands.send(CallCommand::Hold(true)).await.unwrap();
    if let Some(held) = held {
        tokio::time::sleep(held).await;
        call.commands.send(CallCommand::Hold(false)).await.unwrap();
    }
    let (_, report, _) = desk(&mut call).await;
    assert_eq!(report.end, HUNG_UP);
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_hold_and_take_back_by_re_invite_with_a_new_version_each() {
    let script = Script::called()
        .pick_up("")
        .await_request("INVITE", &["a=sendonly", "o=- [0-9]+ 2 IN"])
        .answer("200 OK", "", &sdp(2, "recvonly"))
        .await_request("ACK", &[])
        .await_request("INVITE", &["a=sendrecv", "o=- [0-9]+ 3 IN"])
        .answer("200 OK", "", &sdp(3, "sendrecv"))
        .await_request("ACK", &[])
        .bye();
    holding(script, Some(Duration::from_millis(500))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_answered_491_is_made_again_and_a_refused_one_is_not() {
    let script = Script::called()
        .pick_up("")
        .await_request("INVITE", &["a=sendonly", "o=- [0-9]+ 2 IN"])
        .answer("491 Request Pending", "", "")
        .await_request("ACK", &[])
        .await_request("INVITE", &["a=sendonly", "o=- [0-9]+ 2 IN"])
        .answer("488 Not Acceptable Here", "", "")
        .await_request("ACK", &[])
        .pause(500)
        .bye();
    holding(script, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_crosses_ours_gets_a_491() {
    // SIPp leaves our re-INVITE unanswered, which is then given up; its own is refused.
    let script = Script::called()
        .pick_up("")
        .await_request("INVITE", &["a=sendonly"])
        .send("INVITE", "", &sdp(2, "sendrecv"))
        .expect(491, &[])
        .send("ACK", "", "")
        .send("BYE", "", "")
        .expect(200, &[]);
    holding(script, None).await;
}
