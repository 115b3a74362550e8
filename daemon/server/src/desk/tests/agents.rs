//! Agents: who takes which request, and what becomes of those whose telephone is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use helpline_core::agent::{Event, LAG_MAX, Missed, State, Wish};
use helpline_core::ivr::io::QueueView;
use helpline_core::queue::ewt::PromiseKind;
use helpline_core::request::Whom;

use crate::config::{Agent, Config, Mode, Phone, Queue};
use crate::desk::stage::{Stage, config, request};
use crate::desk::{AgentOrdered, Desk, Origin, Placed, Stood, Turn, Wanted};
use crate::store::look;
use crate::store::tests::{Bench, benches};

const RING: Duration = Duration::from_secs(20);

fn staffed(mode: Mode, agents: &[(&str, &[&str])]) -> Config {
    let mut config = Config {
        queue: vec![Queue::default()],
        ..config()
    };
    config.queue[0].agents.mode = mode;
    for (name, skills) in agents {
        config.phone.push(Phone {
            username: (*name).into(),
            password_file: "unused".into(),
        });
        config.agent.push(Agent {
            name: (*name).into(),
            phone: (*name).into(),
            queues: Vec::new(),
            skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        });
    }
    config
}

async fn registered(stage: &Stage, names: &[&str]) {
    let here: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let none = BTreeSet::new();
    stage.desk.phones_seen(&here, &none).await.unwrap();
}

/// All of them at work, in this order.
async fn at_work(stage: &Stage, names: &[&str]) {
    registered(stage, names).await;
    for name in names {
        let done = stage.desk.set_agent(name, Wish::Available).await.unwrap();
        assert!(matches!(done, AgentOrdered::Done(_)), "{name}: {done:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn asks(stage: &Stage, n: u32, skill: Option<&str>, agent: Option<&str>) {
    let mut request = request(n);
    request.whom = Whom {
        skill: skill.map(str::to_owned),
        agent: agent.map(str::to_owned),
    };
    stage.desk.accept(request, Origin::default()).await.unwrap();
}

/// The last four figures of the numbers that are taken now, and by whom.
async fn taken(stage: &Stage) -> Vec<(String, String)> {
    let room = stage.desk.take("help").await.unwrap();
    let mut taken = Vec::new();
    for claimed in room.claimed {
        let number = claimed.row.number.as_str();
        let agent = claimed.agent.map_or_else(String::new, |agent| agent.name);
        taken.push((number[number.len() - 4..].to_owned(), agent));
    }
    taken
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(number, agent): &(&str, &str)| ((*number).to_owned(), (*agent).to_owned());
    wanted.iter().map(own).collect()
}

async fn state(stage: &Stage, name: &str) -> &'static str {
    let agents = stage.desk.agents().await.unwrap();
    agents
        .iter()
        .find(|agent| agent.name == name)
        .unwrap()
        .state
}

#[tokio::test(start_paused = true)]
async fn who_is_free_longest_takes_the_first_request() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[]), ("bob", &[])])).await;
    for n in 1..=3 {
        asks(&stage, n, None, None).await;
    }
    assert!(taken(&stage).await.is_empty(), "nobody is at work");
    at_work(&stage, &["bob", "ada"]).await;
    let want = pairs(&[("0001", "bob"), ("0002", "ada")]);
    assert_eq!(taken(&stage).await, want);
    assert_eq!(state(&stage, "bob").await, "ringing");
    assert!(taken(&stage).await.is_empty(), "nobody is free");
}

#[tokio::test(start_paused = true)]
async fn a_skill_is_waited_for_and_holds_nobody_up() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &["tax"]), ("bob", &[])])).await;
    asks(&stage, 1, Some("tax"), None).await;
    asks(&stage, 2, None, None).await;
    at_work(&stage, &["bob"]).await;
    assert_eq!(taken(&stage).await, pairs(&[("0002", "bob")]));
    at_work(&stage, &["ada"]).await;
    assert_eq!(taken(&stage).await, pairs(&[("0001", "ada")]));
}

#[tokio::test(start_paused = true)]
async fn a_preferred_agent_is_waited_for_but_not_for_ever() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[]), ("bob", &[])])).await;
    at_work(&stage, &["ada", "bob"]).await;
    asks(&stage, 1, None, None).await;
    assert_eq!(taken(&stage).await, pairs(&[("0001", "ada")]));
    asks(&stage, 2, None, Some("ada")).await;
    assert!(taken(&stage).await.is_empty(), "ada is busy, bob waits");
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(taken(&stage).await.is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(taken(&stage).await, pairs(&[("0002", "bob")]));
    // Nobody waits for somebody who has left.
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[]), ("bob", &[])])).await;
    at_work(&stage, &["bob"]).await;
    asks(&stage, 3, None, Some("ada")).await;
    assert_eq!(taken(&stage).await, pairs(&[("0003", "bob")]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_back_frees_its_agent() {
    let stage = Stage::new(staffed(Mode::AgentFirst, &[("ada", &[])])).await;
    at_work(&stage, &["ada"]).await;
    asks(&stage, 1, None, None).await;
    let claimed = stage.desk.take("help").await.unwrap().claimed.remove(0);
    let id = claimed.row.id.as_str().to_owned();
    // What happened to an earlier offer is none of this one's business.
    let missed = Event::Missed(Missed::NoAnswer);
    stage.desk.agent("ada", "another", missed).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "ringing");
    stage.desk.give_back(&claimed).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "available");
    let again = stage.desk.take("help").await.unwrap().claimed.remove(0);
    assert_eq!(
        (again.row.id.as_str(), again.row.attempts),
        (id.as_str(), 0)
    );
    stage.desk.agent("ada", &id, missed).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "break");
}

#[tokio::test(start_paused = true)]
async fn a_customer_is_called_first_when_somebody_is_free_for_him() {
    let staff: &[(&str, &[&str])] = &[("ada", &[]), ("bob", &["tax"])];
    let stage = Stage::new(staffed(Mode::CustomerFirst, staff)).await;
    asks(&stage, 1, Some("tax"), None).await;
    for n in 2..=4 {
        asks(&stage, n, None, None).await;
    }
    at_work(&stage, &["ada"]).await;
    assert_eq!(taken(&stage).await, pairs(&[("0002", "")]));
    assert!(
        taken(&stage).await.is_empty(),
        "one rings for the one who is free"
    );
    at_work(&stage, &["bob"]).await;
    assert_eq!(taken(&stage).await, pairs(&[("0001", "")]));
    let wanted = |skill: &str| Wanted {
        queue: "help".into(),
        skill: skill.into(),
        prefers: None,
    };
    let free = stage.desk.next_agent(&wanted("tax"), "x").await.unwrap();
    assert_eq!(free.map(|agent| agent.name).as_deref(), Some("bob"));
    assert!(
        stage
            .desk
            .next_agent(&wanted("tax"), "y")
            .await
            .unwrap()
            .is_none()
    );
    assert!(stage.desk.has_agents(&wanted("tax")).await.unwrap());
    assert!(!stage.desk.has_agents(&wanted("law")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_line_gets_the_agent_whose_turn_he_is() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    let desk = &stage.desk;
    desk.caller_begins("c1", None).await.unwrap();
    let stands = || desk.caller_stands("c1", "help", Duration::ZERO);
    assert_eq!(stands().await.unwrap(), Stood::NoAgents);
    at_work(&stage, &["ada"]).await;
    assert!(matches!(stands().await.unwrap(), Stood::At(_)));
    tokio::time::sleep(Duration::from_millis(5)).await;
    asks(&stage, 1, None, None).await;
    assert!(taken(&stage).await.is_empty(), "the caller was there first");
    let turn = desk.caller_turn("c1", "help").await.unwrap();
    let Turn::Now(Some(agent)) = turn else {
        panic!("{turn:?}");
    };
    assert_eq!(
        (agent.name.as_str(), agent.serves.as_deref()),
        ("ada", Some("c1"))
    );
    // The next caller waits, until the last agent leaves.
    desk.caller_begins("c2", None).await.unwrap();
    desk.caller_stands("c2", "help", Duration::ZERO)
        .await
        .unwrap();
    let turn = desk.caller_turn("c2", "help").await.unwrap();
    let Turn::Waits(QueueView { agents, .. }) = turn else {
        panic!("{turn:?}");
    };
    assert_eq!(agents, Some(1));
    desk.set_agent("ada", Wish::Offline).await.unwrap();
    desk.agent("ada", "c1", Event::Took).await.unwrap();
    desk.agent("ada", "c1", Event::Talked(RING)).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "wrapup");
    tokio::time::sleep(RING).await;
    registered(&stage, &["ada"]).await;
    assert_eq!(state(&stage, "ada").await, "offline");
    assert_eq!(desk.caller_turn("c2", "help").await.unwrap(), Turn::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_telephone_that_is_gone_takes_its_agent_out_of_the_line() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    let desk = &stage.desk;
    let set = |name: &'static str, wish| desk.set_agent(name, wish);
    let no_phone = set("ada", Wish::Available).await.unwrap();
    assert_eq!(no_phone, AgentOrdered::NoPhone);
    assert_eq!(
        set("eve", Wish::Break).await.unwrap(),
        AgentOrdered::NotFound
    );
    at_work(&stage, &["ada"]).await;
    let gone = BTreeSet::from(["ada".to_owned()]);
    desk.phones_seen(&BTreeSet::new(), &gone).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "lagged");
    asks(&stage, 1, None, None).await;
    assert!(taken(&stage).await.is_empty());
    registered(&stage, &["ada"]).await;
    assert_eq!(state(&stage, "ada").await, "available");
    desk.phones_seen(&BTreeSet::new(), &gone).await.unwrap();
    tokio::time::sleep(LAG_MAX).await;
    desk.phones_seen(&BTreeSet::new(), &gone).await.unwrap();
    assert_eq!(state(&stage, "ada").await, "offline");
}

#[tokio::test(start_paused = true)]
async fn a_telephone_whose_call_was_lost_is_left_alone_for_a_while() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    at_work(&stage, &["ada"]).await;
    asks(&stage, 1, None, None).await;
    let claimed = stage.desk.take("help").await.unwrap().claimed.remove(0);
    let id = claimed.row.id.as_str();
    for event in [Event::Took, Event::PhoneLost] {
        stage.desk.agent("ada", id, event).await.unwrap();
    }
    for (pause, want) in [(0, "lagged"), (14, "lagged"), (1, "available")] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        registered(&stage, &["ada"]).await;
        assert_eq!(state(&stage, "ada").await, want, "after {pause} s more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_died_leaves_no_agent_in_a_call() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    at_work(&stage, &["ada"]).await;
    asks(&stage, 1, None, None).await;
    assert_eq!(taken(&stage).await, pairs(&[("0001", "ada")]));
    // The next incarnation finds what the last one left.
    stage.run("update node set state = 'dead'", &[]).await;
    stage.desk.reap().await.unwrap();
    assert_eq!(state(&stage, "ada").await, "lagged");
    registered(&stage, &["ada"]).await;
    assert_eq!(state(&stage, "ada").await, "available");
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_call_nobody_looks_after_is_free_again() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[]), ("bob", &[])])).await;
    at_work(&stage, &["ada", "bob"]).await;
    asks(&stage, 1, None, None).await;
    let claimed = stage.desk.take("help").await.unwrap().claimed.remove(0);
    let Placed::Go(live) = stage.desk.place(&claimed).await.unwrap() else {
        panic!("not placed");
    };
    let wanted = live.wanted.clone();
    stage.desk.next_agent(&wanted, "gone").await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    stage.desk.reap().await.unwrap();
    // The call of one is on, that of the other is not known to anybody.
    let states = [state(&stage, "ada").await, state(&stage, "bob").await];
    assert_eq!(states, ["ringing", "available"]);
}

#[tokio::test(start_paused = true)]
async fn who_phoned_in_and_talked_is_not_called_back() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    asks(&stage, 1, None, None).await;
    let number = request(1).number;
    stage.desk.talked_inbound(&number).await.unwrap();
    let rows = stage.rows::<1>("select state from request").await;
    assert_eq!(rows, [["settled_inbound"]]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_that_of_the_agents_who_are_there() {
    let stage = Stage::new(staffed(Mode::Reserved, &[("ada", &[]), ("bob", &[])])).await;
    at_work(&stage, &["ada", "bob"]).await;
    let mut ends = Vec::new();
    for n in 1..=9 {
        let accepted = stage.desk.accept(request(n), Origin::default()).await;
        ends.push(accepted.unwrap().promise.to);
    }
    assert!(ends[0] == ends[1] && ends[1] < ends[8], "{ends:?}");
    // With nobody there, nobody knows when there is somebody.
    let none = Stage::new(staffed(Mode::Reserved, &[("ada", &[])])).await;
    let accepted = none
        .desk
        .accept(request(1), Origin::default())
        .await
        .unwrap();
    assert_eq!(accepted.promise.kind, PromiseKind::None);
}

fn desk_on(bench: &Bench, config: &Arc<Config>, seed: u64) -> Desk {
    let (clock, calendars) = (bench.store.test_clock(), config.calendars());
    Desk::new(
        bench.store.clone(),
        Arc::clone(config),
        calendars,
        clock,
        seed,
    )
}

/// A desk on each database, and its agents at work, by name.
async fn on_both(config: &Arc<Config>) -> Vec<(Desk, Bench)> {
    let mut desks = Vec::new();
    for bench in benches().await {
        let desk = desk_on(&bench, config, 1);
        desk.start().await.unwrap();
        let phones = config.agent.iter().map(|agent| agent.phone.clone());
        let (here, none) = (phones.collect(), BTreeSet::new());
        desk.phones_seen(&here, &none).await.unwrap();
        for agent in &config.agent {
            let done = desk.set_agent(&agent.name, Wish::Available).await.unwrap();
            assert_eq!(done, AgentOrdered::Done(State::Available), "{}", bench.name);
        }
        desks.push((desk, bench));
    }
    desks
}

#[tokio::test]
async fn who_asks_for_a_skill_is_told_the_wait_of_those_who_have_it() {
    let config = staffed(Mode::Reserved, &[("ada", &["tax"]), ("bob", &[])]);
    let config = Arc::new(config);
    for (desk, bench) in &on_both(&config).await {
        let skilled = |n| {
            let mut request = request(n);
            request.whom.skill = Some("tax".into());
            request
        };
        for n in 1..=8 {
            desk.accept(skilled(n), Origin::default()).await.unwrap();
        }
        // Another daemon, which looks at the line for the first time.
        let other = desk_on(bench, &config, 2);
        let now = other.clock.wall();
        let mut waits = Vec::new();
        for request in [request(9), skilled(10)] {
            let accepted = other.accept(request, Origin::default()).await.unwrap();
            waits.push(accepted.promise.to.since(now));
        }
        assert!(waits[1] > 2 * waits[0], "{}: {waits:?}", bench.name);
    }
}

#[tokio::test]
async fn both_databases_keep_agents_alike() {
    let config = staffed(Mode::Reserved, &[("ada", &["tax"]), ("bob", &[])]);
    for (desk, bench) in &on_both(&Arc::new(config)).await {
        let name = bench.name;
        let mut skilled = request(1);
        skilled.whom.skill = Some("tax".into());
        let mut preferring = request(2);
        preferring.whom.agent = Some("ada".into());
        for request in [skilled, preferring, request(3)] {
            desk.accept(request, Origin::default()).await.unwrap();
        }
        let room = desk.take("help").await.unwrap();
        let mut taken: Vec<_> = room
            .claimed
            .iter()
            .map(|c| {
                (
                    c.agent.as_ref().unwrap().name.as_str(),
                    c.row.number.as_str(),
                )
            })
            .collect();
        taken.sort_unstable();
        // The second waits for ada, who is taken: bob has the third.
        assert_eq!(
            taken,
            [("ada", "+49301230001"), ("bob", "+49301230003")],
            "{name}"
        );
        let ada = &room
            .claimed
            .iter()
            .find(|c| c.row.number.as_str().ends_with('1'));
        let Placed::Go(live) = desk.place(ada.unwrap()).await.unwrap() else {
            panic!("{name}: not placed");
        };
        let id = live.request.as_str().to_owned();
        desk.agent("ada", &id, Event::Took).await.unwrap();
        desk.taken_by(&live, "ada").await.unwrap();
        desk.agent("ada", &id, Event::Talked(RING)).await.unwrap();
        let wanted = Wanted {
            queue: "help".into(),
            skill: "tax".into(),
            prefers: Some("ada".into()),
        };
        assert_eq!(desk.next_agent(&wanted, "x").await.unwrap(), None, "{name}");
        assert!(desk.has_agents(&wanted).await.unwrap(), "{name}");
        desk.caller_begins("c", None).await.unwrap();
        desk.caller_stands("c", "help", Duration::ZERO)
            .await
            .unwrap();
        let turn = desk.caller_turn("c", "help").await.unwrap();
        assert!(matches!(turn, Turn::Waits(_)), "{name}: {turn:?}");
        look::run(&bench.store, "update node set state = 'dead'", &[]).await;
        desk.reap().await.unwrap();
        let states: Vec<_> = desk
            .agents()
            .await
            .unwrap()
            .iter()
            .map(|a| a.state)
            .collect();
        assert_eq!(states, ["lagged", "lagged"], "{name}");
        let counts = bench.store.counts().await.unwrap().agents;
        assert_eq!(counts, [("help".into(), "lagged".into(), 2)], "{name}");
    }
}
