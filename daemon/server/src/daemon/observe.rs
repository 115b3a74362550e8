//! What an operator sees: the checks behind `/readyz` and the numbers behind `/metrics`.

mod promises;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::ivr::measure::{KEY_BOUNDS, TRIES_BOUNDS, Tally};
use tokio_util::sync::CancellationToken;

use super::telephony::Telephony;
use crate::desk::{Desk, Snapshot};
use crate::intake::http::HttpIntake;
use crate::intake::imap::Mailboxes;
use crate::intake::mail_auth::Authenticator;
use crate::notify::Notifier;
use crate::store::Store;
use crate::voice::EngineHandle;
use crate::voice::flows::Flows;
use crate::web::health::{Check, Readiness};
use crate::web::metrics::Metrics;

/// How often the numbers are read.
const EVERY: Duration = Duration::from_secs(2);

/// The parts looked at.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) desk: Arc<Desk>,
    pub(super) store: Store,
    pub(super) telephony: Option<Telephony>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) http: Option<Arc<HttpIntake>>,
    pub(super) mailboxes: Option<Arc<Mailboxes>>,
    pub(super) authenticator: Option<Arc<Authenticator>>,
    pub(super) flows: Arc<Flows>,
    pub(super) trunks: Vec<String>,
    pub(super) stop: CancellationToken,
}

/// The checks of `/readyz`. A trunk that is down does not gate: requests are still taken.
pub(super) fn readiness(seen: &Seen) -> Readiness {
    let mut readiness = Readiness::default();
    let store = seen.store.clone();
    readiness.check("db", move || {
        let store = store.clone();
        async move {
            match store.ping().await {
                Ok(_) => Check::good(true),
                Err(error) => Check::bad(true, error.to_string()),
            }
        }
    });
    let stop = seen.stop.clone();
    readiness.check("serving", move || {
        let stopping = stop.is_cancelled();
        async move {
            if stopping {
                Check::bad(true, "stopping")
            } else {
                Check::good(true)
            }
        }
    });
    let flows = Arc::clone(&seen.flows);
    readiness.check("flows", move || {
        let refused = flows.refused();
        async move {
            match refused {
                Some(why) => Check::bad(false, format!("the old flows serve: {why}")),
                None => Check::good(false),
            }
        }
    });
    if let Some(mailboxes) = &seen.mailboxes {
        mailbox_checks(&mut readiness, mailboxes);
    }
    if let Some(telephony) = &seen.telephony {
        trunk_checks(&mut readiness, &telephony.engine, &seen.trunks);
    }
    let (desk, telephony) = (Arc::clone(&seen.desk), seen.telephony.clone());
    readiness.facts(move || {
        let calls = telephony.as_ref().map_or(0, |t| t.engine.active_calls());
        let desk = Arc::clone(&desk);
        async move {
            let mut facts = vec![("calls".to_owned(), calls.to_string())];
            if let Ok(snapshot) = desk.snapshot().await {
                facts.extend(people(&snapshot));
            }
            facts
        }
    });
    readiness
}

/// A mailbox out of order does not gate: mail waits there.
fn mailbox_checks(readiness: &mut Readiness, mailboxes: &Arc<Mailboxes>) {
    for name in mailboxes.conditions().into_keys() {
        let mailboxes = Arc::clone(mailboxes);
        readiness.check(format!("imap:{name}"), move || {
            let condition = mailboxes.conditions().remove(&name);
            async move {
                match condition {
                    Some(seen) if seen.fault.is_some() || seen.is_out_of_order() => {
                        Check::bad(false, seen.in_words())
                    }
                    _ => Check::good(false),
                }
            }
        });
    }
}

fn trunk_checks(readiness: &mut Readiness, engine: &EngineHandle, trunks: &[String]) {
    for name in trunks {
        let (name, engine) = (name.clone(), engine.clone());
        readiness.check(format!("trunk:{name}"), move || {
            let up = engine.trunk_up(&name);
            async move {
                match up {
                    Some(false) => Check::bad(false, "no answer to OPTIONS"),
                    _ => Check::good(false),
                }
            }
        });
    }
    for name in trunks {
        let (name, engine) = (name.clone(), engine.clone());
        if engine.trunk_registered(&name).is_none() {
            continue;
        }
        readiness.check(format!("registration:{name}"), move || {
            let registered = engine.trunk_registered(&name);
            async move {
                match registered {
                    Some(false) => Check::bad(false, "the trunk sends us no calls"),
                    _ => Check::good(false),
                }
            }
        });
    }
}

fn people(snapshot: &Snapshot) -> Vec<(String, String)> {
    let counts = &snapshot.counts;
    let mut facts = Vec::new();
    for (queue, state, n) in &counts.requests {
        facts.push((format!("{queue} {state}"), n.to_string()));
    }
    for (queue, age) in &counts.oldest_waiting {
        facts.push((format!("{queue} oldest"), format!("{} s", age.as_secs())));
    }
    for (queue, state, n) in &counts.agents {
        facts.push((format!("{queue} agents {state}"), n.to_string()));
    }
    let oldest = counts.outbox_oldest.map_or(0, |age| age.as_secs());
    facts.push((
        "mail to send".into(),
        format!("{} (oldest {oldest} s)", counts.outbox),
    ));
    facts
}

/// Keeps the gauges fresh until `end`.
pub(super) async fn refresh(seen: Seen, metrics: Metrics, end: CancellationToken) {
    declare(&metrics);
    promises::declare(&metrics);
    loop {
        match seen.desk.snapshot().await {
            Ok(snapshot) => line(&metrics, &snapshot),
            Err(error) => {
                metrics.add("helpline_store_errors_total", &[], 1.0);
                tracing::warn!(%error, "the line could not be counted");
            }
        }
        promises::show(&metrics, &seen.desk);
        for (name, mailbox) in seen.mailboxes.iter().flat_map(|all| all.conditions()) {
            let age = mailbox.age.as_secs_f64();
            metrics.set("helpline_imap_last_ok_age_seconds", &[&name], age);
            let fetched = number(mailbox.fetched);
            metrics.set("helpline_imap_fetched_total", &[&name], fetched);
        }
        if let Some(telephony) = &seen.telephony {
            voice(&metrics, telephony, &seen.trunks);
        }
        metrics.set(
            "helpline_flow_reload_failed_total",
            &[],
            number(seen.flows.refusals()),
        );
        for (result, n) in seen.notifier.counts() {
            metrics.set("helpline_mail_sent_total", &[result], number(n));
        }
        for (result, n) in seen.authenticator.iter().flat_map(|a| a.counts()) {
            metrics.set("helpline_mail_auth_total", &[result], number(n));
        }
        for (channel, outcome, n) in seen.http.iter().flat_map(|http| http.counts()) {
            metrics.set("helpline_requests_total", &[channel, outcome], number(n));
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn declare(metrics: &Metrics) {
    for (name, help, labels) in [
        (
            "helpline_queue_depth",
            "Open requests by queue and state.",
            &["queue", "state"][..],
        ),
        (
            "helpline_queue_oldest_age_seconds",
            "Age of the oldest waiting request.",
            &["queue"],
        ),
        ("helpline_outbox_depth", "Mail that has not left yet.", &[]),
        (
            "helpline_outbox_oldest_age_seconds",
            "Age of the oldest mail that has not left yet.",
            &[],
        ),
        (
            "helpline_mail_spool_depth",
            "Received messages that wait for work.",
            &[],
        ),
        (
            "helpline_imap_last_ok_age_seconds",
            "Since the mailbox was last looked at without a fault.",
            &["mailbox"],
        ),
        ("helpline_calls_active", "Calls in progress.", &[]),
        (
            "helpline_agents",
            "Agents of the queue by state.",
            &["queue", "state"],
        ),
        (
            "helpline_trunk_up",
            "1 while the trunk answers.",
            &["trunk"],
        ),
        (
            "helpline_trunk_minutes_today",
            "Minutes of calls on the trunk since midnight UTC.",
            &["trunk"],
        ),
        (
            "helpline_trunk_cost_today",
            "What the calls on the trunk cost since midnight UTC, by its rates.",
            &["trunk"],
        ),
        (
            "helpline_trunk_cap_reached",
            "1 while minutes_per_day or cost_per_day keeps the trunk from more calls.",
            &["trunk"],
        ),
        (
            "helpline_trunk_registered",
            "1 while the registration at the trunk holds.",
            &["trunk"],
        ),
        (
            "helpline_sip_streams",
            "SIP streams that peers hold open.",
            &[],
        ),
        (
            "helpline_trunk_channels_used",
            "Calls on the trunk.",
            &["trunk"],
        ),
        (
            "helpline_trunk_breaker_open",
            "1 while the trunk is left alone after failures.",
            &["trunk"],
        ),
        (
            "helpline_media_realtime",
            "1 when media threads run with real-time priority.",
            &[],
        ),
        ("helpline_build_info", "1, with the version.", &["version"]),
    ] {
        metrics.gauge(name, help, labels);
    }
    for (name, help, labels) in [
        (
            "helpline_attempts_total",
            "Attempts that ended, by disposition.",
            &["disposition"][..],
        ),
        (
            "helpline_calls_total",
            "Calls by direction and result.",
            &["direction", "result"],
        ),
        (
            "helpline_dtmf_total",
            "Digits by the way they came.",
            &["method"],
        ),
        (
            "helpline_imap_fetched_total",
            "Messages fetched from the mailbox.",
            &["mailbox"],
        ),
        ("helpline_mail_sent_total", "Mails by result.", &["result"]),
        (
            "helpline_mail_auth_total",
            "Mails by what SPF, DKIM and DMARC came to.",
            &["result"],
        ),
        (
            "helpline_flow_reload_failed_total",
            "Reloads of flows and prompts that were refused.",
            &[],
        ),
        (
            "helpline_mail_dsn_total",
            "Reports of what became of mail, by what they say; not_ours changes nothing.",
            &["action"],
        ),
        (
            "helpline_replies_withheld_total",
            "Automatic replies not sent, their budget being used up.",
            &[],
        ),
        (
            "helpline_requests_total",
            "Requests by channel and outcome.",
            &["channel", "outcome"],
        ),
        ("helpline_rtp_packets_sent_total", "RTP packets sent.", &[]),
        (
            "helpline_rtp_packets_lost_total",
            "RTP packets that never came.",
            &[],
        ),
        (
            "helpline_rtp_late_ticks_total",
            "Media slots that began more than 5 ms late.",
            &[],
        ),
        (
            "helpline_rtp_wrong_source_total",
            "RTP packets from strangers, dropped.",
            &[],
        ),
        (
            "helpline_sip_gate_total",
            "Datagrams the SIP gate refused.",
            &["reason"],
        ),
        (
            "helpline_flow_say_errors_total",
            "Prompts that were not there.",
            &[],
        ),
        (
            "helpline_flow_nodes_total",
            "Ways taken where a flow chooses, by flow and exit.",
            &["flow", "exit"],
        ),
        (
            "helpline_store_errors_total",
            "Times the store did not answer.",
            &[],
        ),
    ] {
        metrics.counter(name, help, labels);
    }
    for (name, help, bounds) in [
        (
            "helpline_flow_tries",
            "How often a question was put until it was over.",
            TRIES_BOUNDS,
        ),
        (
            "helpline_flow_first_key_seconds",
            "Time from a question's begin to its first key.",
            KEY_BOUNDS,
        ),
    ] {
        metrics.histogram(name, help, &["flow"], bounds);
    }
    metrics.set("helpline_build_info", &[env!("CARGO_PKG_VERSION")], 1.0);
    metrics.add("helpline_store_errors_total", &[], 0.0);
}

fn line(metrics: &Metrics, snapshot: &Snapshot) {
    let counts = &snapshot.counts;
    // A queue that has emptied must not keep its last number.
    metrics.clear("helpline_queue_depth");
    metrics.clear("helpline_queue_oldest_age_seconds");
    metrics.set(
        "helpline_queue_depth",
        &["all", "open"],
        counts.requests.iter().map(|r| f64::from(r.2)).sum(),
    );
    for (queue, state, n) in &counts.requests {
        metrics.set("helpline_queue_depth", &[queue, state], f64::from(*n));
    }
    for (queue, age) in &counts.oldest_waiting {
        metrics.set(
            "helpline_queue_oldest_age_seconds",
            &[queue],
            age.as_secs_f64(),
        );
    }
    metrics.clear("helpline_agents");
    for (queue, state, n) in &counts.agents {
        metrics.set("helpline_agents", &[queue, state], f64::from(*n));
    }
    metrics.set("helpline_outbox_depth", &[], f64::from(counts.outbox));
    let oldest = counts.outbox_oldest.unwrap_or_default();
    metrics.set(
        "helpline_outbox_oldest_age_seconds",
        &[],
        oldest.as_secs_f64(),
    );
    metrics.set("helpline_mail_spool_depth", &[], f64::from(counts.spool));
    for (trunk, used, _, open) in &counts.trunks {
        metrics.set("helpline_trunk_channels_used", &[trunk], f64::from(*used));
        metrics.set(
            "helpline_trunk_breaker_open",
            &[trunk],
            f64::from(u8::from(*open)),
        );
    }
    for (disposition, n) in &snapshot.attempts {
        metrics.set("helpline_attempts_total", &[disposition], number(*n));
    }
    for (trunk, spent) in &snapshot.counts.spent {
        let minutes = u64::try_from(spent.minutes).unwrap_or(0);
        metrics.set("helpline_trunk_minutes_today", &[trunk], number(minutes));
        let cost = number(u64::try_from(spent.cost).unwrap_or(0)) / 10_000.0;
        metrics.set("helpline_trunk_cost_today", &[trunk], cost);
        let is_over = f64::from(u8::from(spent.is_over));
        metrics.set("helpline_trunk_cap_reached", &[trunk], is_over);
    }
    metrics.set(
        "helpline_replies_withheld_total",
        &[],
        number(snapshot.replies_withheld),
    );
    for (action, n) in &snapshot.reports {
        metrics.set("helpline_mail_dsn_total", &[action], number(*n));
    }
}

fn voice(metrics: &Metrics, telephony: &Telephony, trunks: &[String]) {
    let Telephony { engine, media } = telephony;
    let calls = u64::try_from(engine.active_calls()).unwrap_or(u64::MAX);
    metrics.set("helpline_calls_active", &[], number(calls));
    for trunk in trunks {
        let up = engine.trunk_up(trunk).unwrap_or(false);
        metrics.set("helpline_trunk_up", &[trunk], f64::from(u8::from(up)));
        if let Some(registered) = engine.trunk_registered(trunk) {
            let registered = f64::from(u8::from(registered));
            metrics.set("helpline_trunk_registered", &[trunk], registered);
        }
    }
    let (streams, _) = engine.sip_streams();
    let streams = u64::try_from(streams).unwrap_or(u64::MAX);
    metrics.set("helpline_sip_streams", &[], number(streams));
    let counters = engine.counters();
    for (direction, result, n) in [
        ("out", "answered", counters.answered),
        ("out", "refused", counters.refused),
        ("out", "unreachable", counters.unreachable),
        ("out", "unanswered", counters.unanswered),
        ("in", "answered", counters.incoming),
        ("in", "refused", counters.incoming_refused),
    ] {
        metrics.set("helpline_calls_total", &[direction, result], number(n));
    }
    for (reason, n) in counters.gate {
        metrics.set("helpline_sip_gate_total", &[reason], number(n));
    }
    metrics.set(
        "helpline_flow_say_errors_total",
        &[],
        number(counters.say_errors),
    );
    flows(metrics, &counters.flows);
    let heard = media.counters();
    for (method, n) in [
        ("rfc4733", heard.digits_rfc4733),
        ("info", heard.digits_info),
        ("inband", heard.digits_inband),
    ] {
        metrics.set("helpline_dtmf_total", &[method], number(n));
    }
    metrics.set(
        "helpline_rtp_packets_sent_total",
        &[],
        number(heard.packets_sent),
    );
    metrics.set(
        "helpline_rtp_packets_lost_total",
        &[],
        number(heard.packets_lost),
    );
    metrics.set(
        "helpline_rtp_late_ticks_total",
        &[],
        number(heard.late_ticks),
    );
    metrics.set(
        "helpline_rtp_wrong_source_total",
        &[],
        number(heard.wrong_source),
    );
    metrics.set(
        "helpline_media_realtime",
        &[],
        f64::from(u8::from(media.realtime())),
    );
}

fn flows(metrics: &Metrics, tally: &Tally) {
    for ((flow, exit), n) in &tally.left {
        metrics.set("helpline_flow_nodes_total", &[flow, exit], number(*n));
    }
    for (flow, tries) in &tally.tries {
        metrics.spread("helpline_flow_tries", &[flow], tries);
    }
    for (flow, after) in &tally.first_key {
        metrics.spread("helpline_flow_first_key_seconds", &[flow], after);
    }
}

/// Counters stay far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(n: u64) -> f64 {
    n as f64
}
