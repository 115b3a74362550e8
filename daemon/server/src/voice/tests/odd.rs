//! Trunks that do not do as they should, strangers, and garbage.

use super::*;

/// A trunk of a few lines: `answer` gets each datagram as text and gives what is sent back.
pub(super) async fn odd_trunk(
    mut answer: impl FnMut(&str) -> Vec<String> + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buf = [0; 4_096];
        loop {
            let (len, from) = socket.recv_from(&mut buf).await.unwrap();
            for text in answer(std::str::from_utf8(&buf[..len]).unwrap()) {
                socket.send_to(text.as_bytes(), from).await.unwrap();
            }
        }
    });
    (address, task)
}

pub(super) fn reply(request: &str, status: &str, more: &str) -> String {
    let fields = request.lines().filter(|l| {
        ["Via", "From", "Call-ID", "CSeq"]
            .iter()
            .any(|n| l.starts_with(n))
    });
    let fields: String = fields.map(|l| format!("{l}\r\n")).collect();
    let to = request.lines().find(|l| l.starts_with("To")).unwrap();
    format!("SIP/2.0 {status}\r\n{fields}{to};tag=odd\r\n{more}Content-Length: 0\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_that_lives_but_ignores_the_invite_is_waited_for() {
    let (address, trunk) = odd_trunk(|text| {
        let options = text.starts_with("OPTIONS");
        options
            .then(|| reply(text, "404 Not Found", ""))
            .into_iter()
            .collect()
    })
    .await;
    let world = World::new(address).await;
    let began = Instant::now();
    let mut call = world
        .place("ignored", Duration::from_secs(7))
        .await
        .unwrap();
    let (words, report) = desk(&mut call, None).await;
    assert_eq!((words.len(), report.end), (0, End::Silent));
    assert!(began.elapsed() > Duration::from_secs(6));
    assert_eq!(world.engine.trunk_up("t"), Some(true));
    trunk.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_asked_for_once_and_never_told_twice() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (address, trunk) = odd_trunk(move |text| {
        log.lock().unwrap().push(text.to_owned());
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
        let invite = text.starts_with("INVITE");
        invite
            .then(|| reply(text, "401 Unauthorized", challenge))
            .into_iter()
            .collect()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret").unwrap();
    let world = World::with(address, |config| {
        config.trunks[0].username = Some("u".into());
        config.trunks[0].password_file = Some(file);
    })
    .await;
    let mut call = world.place("loop", LIMIT).await.unwrap();
    let (_, report) = desk(&mut call, None).await;
    assert_eq!(
        report.end,
        End::Refused {
            code: 401,
            q850: None
        }
    );
    let seen = seen.lock().unwrap();
    let answers = seen
        .iter()
        .filter(|t| t.contains("Authorization:") && t.starts_with("INVITE"));
    assert_eq!(answers.count(), 1);
    assert!(!seen.iter().any(|t| t.contains("secret")));
    trunk.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_of_a_stranger_is_not_answered() {
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let log = Arc::clone(&seen);
    // The trunk rings; a stranger who saw the INVITE sends a challenge in its name.
    let (address, trunk) = odd_trunk(move |text| {
        let mut log = log.lock().unwrap();
        log.push_str(text);
        let invite = text.starts_with("INVITE");
        invite
            .then(|| reply(text, "180 Ringing", ""))
            .into_iter()
            .collect()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret").unwrap();
    let world = World::with(address, |config| {
        config.trunks[0].username = Some("u".into());
        config.trunks[0].password_file = Some(file);
    })
    .await;
    let mut call = world
        .place("stranger", Duration::from_secs(2))
        .await
        .unwrap();
    while !matches!(call.events.recv().await, Some(CallEvent::Ringing)) {}
    let invite = {
        let seen = seen.lock().unwrap();
        seen[seen.find("INVITE").unwrap()..].to_owned()
    };
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let text = reply(
        invite.split("\r\n\r\n").next().unwrap(),
        "401 Unauthorized",
        challenge,
    );
    stranger
        .send_to(text.as_bytes(), world.engine.sip_address())
        .await
        .unwrap();
    let (_, report) = desk(&mut call, None).await;
    assert_eq!(report.end, End::RingLimit, "the call goes on");
    assert!(!seen.lock().unwrap().contains("Authorization"));
    assert_eq!(world.engine.counters().gate, [("challenge", 1)]);
    trunk.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_the_next_call_works() {
    let behaviour = Behaviour {
        hang_up_after: Some(Duration::from_millis(100)),
        ..Behaviour::default()
    };
    let (phone, _heard) = phone(behaviour, &media()).await;
    let world = World::new(phone.address()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut rng = helpline_core::rng::Rng::new(5);
    let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:b@a>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
        Content-Length: 0\r\n\r\n";
    for _ in 0..2_000 {
        let mut bytes = request.as_bytes().to_vec();
        for _ in 0..4 {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            bytes[at] = rng.next_u64().to_le_bytes()[0];
        }
        socket
            .send_to(&bytes, world.engine.sip_address())
            .await
            .unwrap();
    }
    let mut call = world.place("after", LIMIT).await.unwrap();
    let (words, _) = desk(&mut call, None).await;
    assert_eq!(words, ["answered"]);
    assert!(world.engine.counters().gate.iter().any(|(_, n)| *n > 100));
    world.is_clean().await;
    phone.stop().await;
}
