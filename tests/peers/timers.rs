//! Session timers (RFC 4028) against SIPp, both ways. The sessions are a few seconds
//! long, which the configuration of a daemon would refuse.

use std::time::Duration;

use helpline::config::Period;
use helpline_core::call::End;
use tokio::time::timeout;

use super::sip::{LIMIT, World, desk};
use crate::support::sipp::{Script, sdp};

async fn world(seconds: u64) -> World {
    World::with(|config, _, _| {
        config.voice.session_expires = Period(Duration::from_secs(seconds));
    })
    .await
}

/// SIPp calls in; what ended the call.
async fn called_by(mut world: World, script: Script) -> End {
    let sipp = world.script(script).await;
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    let (_, report, _) = desk(&mut incoming.call).await;
    sipp.ends_content().await;
    world.is_clean().await;
    report.end
}

/// SIPp is called; what ended the call.
async fn calling(world: World, script: Script) -> End {
    let sipp = world.script(script).await;
    let mut call = world.place_for("t", "greet", LIMIT).await;
    let (_, report, _) = desk(&mut call).await;
    sipp.ends_content().await;
    world.is_clean().await;
    report.end
}

const GONE: End = End::HungUp { by_customer: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_wants_too_short_a_session_is_told_the_least() {
    let fields = |seconds| {
        format!(
            "Supported: timer\nAllow: INVITE, ACK, BYE, UPDATE\nSession-Expires: {seconds};refresher=uas\n"
        )
    };
    let script = Script::caller("+4930777777")
        .send("INVITE", &fields(2), &sdp(1, "sendrecv"))
        .expect(422, &["Min-SE: 3"])
        .send("ACK", "", "")
        .send("INVITE", &fields(3), &sdp(1, "sendrecv"));
    // The 200 keeps what was asked, and the refresh is ours: by UPDATE, without SDP.
    let refresh = ["Session-Expires: 3;refresher=uac", "Content-Length: 0"];
    let script = script
        .expect(200, &["Session-Expires: 3;refresher=uas", "Require: timer"])
        .send("ACK", "", "")
        .await_request("UPDATE", &refresh)
        .answer(
            "200 OK",
            "Session-Expires: 3;refresher=uac\nRequire: timer\n",
            "",
        )
        .await_request("UPDATE", &[])
        .answer("481 Call Does Not Exist", "", "")
        .ended_by(&["Reason: Q.850;cause=102"]);
    assert_eq!(called_by(world(3).await, script).await, GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_promised_to_refresh_and_does_not_is_hung_up_on() {
    let script = Script::caller("+4930777777")
        .send(
            "INVITE",
            "Supported: timer\nSession-Expires: 600;refresher=uac\n",
            &sdp(1, "sendrecv"),
        )
        .expect(200, &["Session-Expires: 3;refresher=uac"])
        .send("ACK", "", "")
        .pause(1_000)
        .send("UPDATE", "Supported: timer\nSession-Expires: 3\n", "")
        .expect(200, &["Session-Expires: 3;refresher=uac", "Require: timer"])
        .ended_by(&["Reason: Q.850;cause=102"]);
    assert_eq!(called_by(world(3).await, script).await, GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_422_is_met_and_the_refresh_is_a_re_invite_with_the_same_description() {
    let script = Script::called()
        .await_request(
            "INVITE",
            &["Session-Expires: 3", "Min-SE: 3", "Supported: timer"],
        )
        .answer("422 Session Interval Too Small", "Min-SE: 4\n", "")
        .await_request("ACK", &[])
        .await_request("INVITE", &["Session-Expires: 4", "Min-SE: 4"])
        .answer(
            "200 OK",
            "Allow: INVITE, ACK, BYE\nRequire: timer\nSession-Expires: 4;refresher=uac\n",
            &sdp(1, "sendrecv"),
        )
        .await_request("ACK", &[])
        .await_request("INVITE", &["o=- [0-9]+ 1 IN", "refresher=uac"])
        .answer(
            "200 OK",
            "Require: timer\nSession-Expires: 4;refresher=uac\n",
            &sdp(1, "sendrecv"),
        )
        .await_request("ACK", &[])
        .bye();
    assert_eq!(calling(world(3).await, script).await, GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callee_who_promised_to_refresh_and_does_not_is_hung_up_on() {
    let script = Script::called()
        .pick_up("Require: timer\nSession-Expires: 3;refresher=uas\n")
        .ended_by(&["Reason: Q.850;cause=102"]);
    assert_eq!(calling(world(3).await, script).await, GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callee_who_knows_no_timers_may_refuse_every_refresh() {
    let script = Script::called()
        .pick_up("")
        .await_request("INVITE", &[])
        .answer("488 Not Acceptable Here", "", "")
        .await_request("ACK", &[])
        .await_request("INVITE", &[])
        .answer("488 Not Acceptable Here", "", "")
        .await_request("ACK", &[])
        .bye();
    assert_eq!(calling(world(3).await, script).await, GONE);
}
