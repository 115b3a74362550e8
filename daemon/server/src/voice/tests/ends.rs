//! How the engine stops, and calls that are not as they should be.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_calls_with_a_report_and_takes_no_new_ones() {
    let (phone, mut heard) = phone(Behaviour::default(), &media()).await;
    let world = World::new(phone.address()).await;
    let mut call = world.place("drain", LIMIT).await.unwrap();
    while !matches!(call.events.recv().await, Some(CallEvent::Answered)) {}
    assert_eq!(world.engine.active_calls(), 1);
    let engine = world.engine.clone();
    let drain = tokio::spawn(async move { engine.drain(Duration::from_millis(200)).await });
    let (_, report) = desk(&mut call, None).await;
    assert_eq!(report.end, End::HungUp { by_customer: false });
    timeout(LIMIT, drain).await.unwrap().unwrap();
    assert_eq!(
        world.place("late", LIMIT).await.unwrap_err().to_string(),
        "voice engine: the engine has stopped"
    );
    while !matches!(
        heard.recv().await,
        Some(PhoneEvent::Over {
            by_far_end: true,
            ..
        })
    ) {}
    assert_eq!(
        (world.engine.active_calls(), world.engine.dialogs()),
        (0, 0)
    );
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_cannot_be_called_are_refused_before_anybody_is() {
    let (phone, mut heard) = phone(Behaviour::default(), &media()).await;
    let world = World::with(phone.address(), |config| config.trunks[0].max_channels = 0).await;
    assert_eq!(
        world.place("full", LIMIT).await.unwrap_err(),
        VoiceError::NoChannel
    );
    let world = World::new(phone.address()).await;
    let mut plan = CallPlan {
        attempt: AttemptId::from_text("a"),
        call_id: "x@test".into(),
        trunk: "other".into(),
        to: PhoneNumber::from_row("+4930123456"),
        queue: "help".into(),
        caller_id: None,
        ring_limit: LIMIT,
        flow: "confirm".into(),
        input: serde_json::Map::new(),
        language: "en".into(),
        hours: Hours::ALWAYS,
    };
    let no_trunk = world.voice.place(plan.clone()).await.unwrap_err();
    assert_eq!(no_trunk, VoiceError::NoTrunk("other".into()));
    plan.trunk = "t".into();
    plan.flow = "nowhere".into();
    let no_flow = world.voice.place(plan).await.unwrap_err();
    assert!(matches!(no_flow, VoiceError::Internal(_)), "{no_flow}");
    assert!(heard.try_recv().is_err(), "nobody's telephone rang");
    let _ = &world.media;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_desk_that_went_away_does_not_keep_the_customer() {
    let behaviour = Behaviour {
        presses: vec![press('1', 500)],
        ..Behaviour::default()
    };
    let (phone, mut heard) = phone(behaviour, &media()).await;
    let world = World::new(phone.address()).await;
    drop(world.place("alone", LIMIT).await.unwrap());
    let over = async {
        while !matches!(
            heard.recv().await,
            Some(PhoneEvent::Over {
                by_far_end: true,
                ..
            })
        ) {}
    };
    timeout(LIMIT, over).await.expect("the flow ends the call");
    world.is_clean().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_calls_at_once_leave_nothing_behind() {
    let behaviour = Behaviour {
        ring: Duration::from_millis(50),
        presses: vec![press('9', 500)],
        ..Behaviour::default()
    };
    let (phone, _heard) = phone(behaviour, &media()).await;
    let world = World::new(phone.address()).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let mut call = world.place(&format!("many{n}"), LIMIT).await.unwrap();
        calls.spawn(async move { desk(&mut call, None).await.1 });
    }
    while let Some(report) = calls.join_next().await {
        assert_eq!(report.unwrap().settled, Some(Settled::Stop));
    }
    world.is_clean().await;
    let counters = world.engine.counters();
    assert_eq!(
        (counters.placed, counters.answered, counters.ended),
        (40, 40, 40)
    );
    let gone = async {
        while phone.dialogs() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone)
        .await
        .expect("the phone's dialogs end too");
    phone.stop().await;
}
