//! SIPp and baresip by TCP and TLS, in both directions.

use std::time::Duration;

use helpline::config::{SrtpUse, TransportName};
use helpline_core::call::End;
use tokio::time::timeout;

use super::sip::{Baresip, LIMIT, World, baresip_is_called, desk};
use crate::support::certificates::make_certificates;
use crate::support::phone::events_of;

/// A world that speaks TCP with its trunk.
async fn tcp_world() -> World {
    let mut world = World::with(|config, _, _| {
        config.trunks[0].transport = TransportName::Tcp;
        config.voice.sip_tcp_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    world.way = "t1";
    world
}

/// A world that speaks TLS with a baresip: it listens on the port after its own.
async fn tls_world() -> World {
    tls_world_with(SrtpUse::Off).await
}

async fn tls_world_with(srtp: SrtpUse) -> World {
    World::with(|config, trunk, dir| {
        config.trunks[0].srtp = srtp;
        make_certificates(dir);
        config.voice.sip_tls_listen = Some("127.0.0.1:0".parse().unwrap());
        config.voice.tls_cert_file = Some(dir.join("cert.pem"));
        config.voice.tls_key_file = Some(dir.join("key.pem"));
        config.trunks[0].transport = TransportName::Tls;
        config.trunks[0].target = format!("127.0.0.1:{}", trunk + 1);
        config.trunks[0].ca_file = Some(dir.join("ca.pem"));
    })
    .await
}

/// The same, and media is encrypted too.
async fn srtp_world() -> World {
    tls_world_with(SrtpUse::Required).await
}

/// What baresip needs for TLS.
fn tls_config(world: &World) -> String {
    let dir = world.dir.path().display();
    format!("\nsip_certificate\t\t{dir}/both.pem\nsip_cafile\t\t{dir}/ca.pem\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_as_trunk_by_tcp_challenges_and_is_given_up() {
    let verify = r#"<verifyauth assign_to="proven" username="u" password="secret" />"#;
    let keys = [
        ("status", "401 Unauthorized"),
        ("challenge", "WWW-Authenticate"),
        ("check", verify),
    ];
    let world = tcp_world().await;
    let sipp = world.sipp("uas_challenge", &keys, false).await;
    let mut call = world.place(LIMIT).await;
    let (words, report, _) = desk(&mut call).await;
    assert_eq!(words, ["ringing", "answered"], "{:?}", report.end);
    sipp.ends_content().await;
    world.is_clean().await;

    let world = tcp_world().await;
    let sipp = world.sipp("uas_cancel", &[], false).await;
    let mut call = world.place(Duration::from_secs(1)).await;
    let (words, report, _) = desk(&mut call).await;
    assert_eq!((words, report.end), (vec!["ringing"], End::RingLimit));
    sipp.ends_content().await;
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_in_by_tcp_and_everything_a_dialog_may_carry_is_answered() {
    for scenario in ["uac_keys", "uac_dialog", "uac_late"] {
        let mut world = tcp_world().await;
        let events = events_of("420", world.dir.path());
        let keys = [("caller", "+4930777777"), ("keys", events.as_str())];
        let sipp = world.sipp(scenario, &keys, true).await;
        let incoming = timeout(LIMIT, world.callers.recv()).await;
        let mut incoming = incoming.expect(scenario).unwrap();
        let (_, report, keys) = desk(&mut incoming.call).await;
        assert_eq!(keys, "420", "{scenario}: {:?}", report.end);
        sipp.ends_content().await;
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_is_called_by_tls() {
    let world = tls_world().await;
    let baresip = Baresip::start(&world, &tls_config(&world), "").await;
    baresip_is_called(&world, baresip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_is_called_with_srtp() {
    let world = srtp_world().await;
    let config = tls_config(&world) + "module\t\t\tsrtp.so\n";
    let baresip = Baresip::start(&world, &config, ";mediaenc=srtp-mand").await;
    baresip_is_called(&world, baresip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_calls_in_by_tls() {
    let world = tls_world().await;
    let baresip = Baresip::start(&world, &tls_config(&world), "").await;
    calls_in(world, baresip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_calls_in_with_srtp() {
    let world = srtp_world().await;
    let config = tls_config(&world) + "module\t\t\tsrtp.so\n";
    let baresip = Baresip::start(&world, &config, ";mediaenc=srtp-mand").await;
    calls_in(world, baresip).await;
}

/// The baresip calls us by TLS and presses 420.
async fn calls_in(mut world: World, mut baresip: Baresip) {
    let to = world.engine.stream_addresses().1.unwrap();
    let uri = format!("sip:help@{to};transport=tls");
    baresip.order("dial", &uri).await;
    let incoming = timeout(LIMIT, world.callers.recv()).await;
    let mut incoming = incoming.expect("a call came").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for key in ["4", "2", "0"] {
        baresip.order("sndcode", key).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let (_, report, keys) = desk(&mut incoming.call).await;
    assert_eq!(keys, "420", "{:?}", report.end);
    world.is_clean().await;
    baresip.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_whose_certificate_nobody_vouches_for_is_not_called() {
    let world = World::with(|config, trunk, dir| {
        let other = dir.join("other");
        std::fs::create_dir(&other).unwrap();
        make_certificates(&other);
        make_certificates(dir);
        config.trunks[0].transport = TransportName::Tls;
        config.trunks[0].target = format!("127.0.0.1:{}", trunk + 1);
        config.trunks[0].ca_file = Some(other.join("ca.pem"));
    })
    .await;
    let baresip = Baresip::start(&world, &tls_config(&world), "").await;
    let mut call = world.place(LIMIT).await;
    let (words, report, _) = desk(&mut call).await;
    assert_eq!((words.len(), report.end), (0, End::Unreachable));
    baresip.end().await;
}
