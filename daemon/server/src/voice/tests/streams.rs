//! SIP over TCP: half lives, idle crowds, slow writers, and calls in between.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// A world whose trunk is at 127.0.0.1, for anyone who connects from there.
async fn world() -> World {
    let trunk = "127.0.0.1:9".parse().unwrap();
    World::with(trunk, |config| {
        config.voice.sip_tcp_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await
}

fn tcp_of(world: &World) -> SocketAddr {
    world.engine.stream_addresses().0.unwrap()
}

async fn connect(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((std::net::Ipv4Addr::from(from), 0).into())?;
    socket.connect(to).await
}

fn invite(id: &str) -> String {
    let sdp = "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
    let length = sdp.len();
    format!(
        "{}Contact: <sip:caller@127.0.0.1;transport=tcp>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{sdp}",
        head("INVITE", 1, id, "")
    )
}

fn head(method: &str, number: u32, id: &str, tag: &str) -> String {
    format!(
        "{method} sip:help@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{id}{method}\r\n\
         From: <sip:+4930777777@127.0.0.1>;tag={id}\r\nTo: <sip:help@127.0.0.1>{tag}\r\n\
         Call-ID: {id}@tcp\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\n"
    )
}

/// Reads on until `wanted` came.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buf = [0; 4_096];
    while !text.contains(wanted) {
        let read = timeout(LIMIT, stream.read(&mut buf)).await;
        let len = read.expect("in time").unwrap();
        assert!(len > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buf[..len]).unwrap());
    }
    text
}

/// A whole call on one stream.
async fn call(world: &mut World, id: &str) {
    let mut stream = connect([127, 0, 0, 1], tcp_of(world)).await.unwrap();
    stream.write_all(invite(id).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "a=sendrecv\r\n").await;
    assert!(answer.contains("SIP/2.0 200"), "{answer}");
    let contact = format!("<sip:helpline@{};transport=TCP>", tcp_of(world));
    assert!(
        answer.to_uppercase().contains(&contact.to_uppercase()),
        "{answer}"
    );
    let to = answer.lines().rfind(|l| l.starts_with("To:")).unwrap();
    let tag = &to[to.find(";tag=").unwrap()..];
    let ack = head("ACK", 1, id, tag) + "Content-Length: 0\r\n\r\n";
    stream.write_all(ack.as_bytes()).await.unwrap();
    let mut incoming = timeout(LIMIT, world.callers.recv()).await.unwrap().unwrap();
    let bye = head("BYE", 2, id, tag) + "Content-Length: 0\r\n\r\n";
    stream.write_all(bye.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "CSeq: 2 BYE").await;
    assert!(answer.contains("SIP/2.0 200"), "{answer}");
    let (_, report) = desk(&mut incoming.call, None).await;
    assert_eq!(report.end, End::HungUp { by_customer: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_may_end_after_any_byte_of_an_invite() {
    let mut world = world().await;
    let whole = invite("cut");
    for end in 0..whole.len() {
        let mut stream = connect([127, 0, 0, 1], tcp_of(&world)).await.unwrap();
        stream.write_all(&whole.as_bytes()[..end]).await.unwrap();
    }
    call(&mut world, "after").await;
    world.is_clean().await;
    let gone = async {
        while world.engine.sip_streams().0 > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("no stream is left");
    assert_eq!(world.engine.counters().incoming, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_vanishes_after_the_invite_leaves_nothing() {
    let mut world = world().await;
    let mut stream = connect([127, 0, 0, 1], tcp_of(&world)).await.unwrap();
    stream.write_all(invite("vanish").as_bytes()).await.unwrap();
    drop(stream);
    call(&mut world, "next").await;
    world.is_clean().await;
    assert_eq!(world.engine.counters().incoming, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_idle_streams_is_bounded_and_let_go_and_calls_go_on() {
    let mut world = world().await;
    let mut crowd = Vec::new();
    let began = Instant::now();
    // Fifty strangers with twenty streams each, and one who wants more.
    for n in 0..1_000u16 {
        let from = [127, 1, 0, u8::try_from(n / 20).unwrap() + 1];
        crowd.push(connect(from, tcp_of(&world)).await.unwrap());
    }
    for _ in 0..30 {
        crowd.push(connect([127, 1, 1, 1], tcp_of(&world)).await.unwrap());
    }
    let taken = async {
        while world.engine.sip_streams().0 + usize::try_from(world.engine.sip_streams().1).unwrap()
            < crowd.len()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, taken)
        .await
        .expect("all were accepted or refused");
    let (open, refused) = world.engine.sip_streams();
    assert_eq!(
        (open, refused),
        (800, 230),
        "strangers leave room for others"
    );
    call(&mut world, "amid").await;
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "the crowd is still there"
    );
    assert!(world.engine.sip_streams().0 >= 800);
    let gone = async {
        while world.engine.sip_streams().0 > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(15), gone)
        .await
        .expect("idle streams are closed");
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_writer_is_let_go_after_ten_seconds() {
    let world = world().await;
    let mut stream = connect([127, 0, 0, 1], tcp_of(&world)).await.unwrap();
    let began = Instant::now();
    let bytes = invite("slow").into_bytes();
    let mut sent = 0;
    let mut buf = [0; 64];
    loop {
        tokio::select! {
            read = stream.read(&mut buf) => {
                assert!(matches!(read, Ok(0) | Err(_)), "something came");
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                let _ = stream.write_all(&bytes[sent..=sent]).await;
                sent += 1;
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    assert!((9.5..12.5).contains(&took), "{took}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_stands_before_streams_too() {
    let mut world = world().await;
    // A stranger's call is refused on its own stream, which stays.
    let mut stream = connect([127, 2, 0, 1], tcp_of(&world)).await.unwrap();
    // Two messages in one write.
    let both = invite("one") + &invite("two");
    stream.write_all(both.as_bytes()).await.unwrap();
    let last = "Call-ID: two@tcp\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    let answer = read_until(&mut stream, last).await;
    assert_eq!(answer.matches("SIP/2.0 403").count(), 2, "{answer}");
    // A keep-alive is answered, a length that lies ends the stream.
    stream.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n").await, "\r\n");
    let lie = head("OPTIONS", 1, "lie", "") + "Content-Length: 5\r\nl: 6\r\n\r\n";
    stream.write_all(lie.as_bytes()).await.unwrap();
    let mut buf = [0; 64];
    let end = timeout(LIMIT, stream.read(&mut buf)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    assert_eq!(world.engine.counters().gate, [("stranger", 2)]);
    call(&mut world, "after").await;
    world.is_clean().await;
}

/// A trunk on TCP that reads whole requests and answers with what `answer` says.
async fn tcp_trunk(
    answer: impl Fn(&str) -> Vec<String> + Clone + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buf = [0; 8_192];
                let mut waiting = String::new();
                while let Ok(len @ 1..) = stream.read(&mut buf).await {
                    waiting.push_str(std::str::from_utf8(&buf[..len]).unwrap());
                    // An ACK and the next INVITE may come in one piece.
                    while let Some(end) = message_end(&waiting) {
                        let message: String = waiting.drain(..end).collect();
                        for text in answer(&message) {
                            stream.write_all(text.as_bytes()).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, task)
}

/// Where the first message of a stream ends, if it is there whole.
fn message_end(text: &str) -> Option<usize> {
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    let end = head + length.unwrap_or(0);
    (end <= text.len()).then_some(end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_by_tcp_is_probed_called_and_missed() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (address, trunk) = tcp_trunk(move |text| {
        log.lock().unwrap().push(text.to_owned());
        match text.split(' ').next() {
            Some("OPTIONS") => vec![odd::reply(text, "200 OK", "")],
            Some("INVITE") => vec![odd::reply(text, "486 Busy Here", "")],
            _ => vec![],
        }
    })
    .await;
    let world = World::with(address, |config| {
        config.trunks[0].transport = config::TransportName::Tcp;
    })
    .await;
    let busy = End::Refused {
        code: 486,
        q850: None,
    };
    for id in ["one", "two"] {
        let mut call = world.place(id, LIMIT).await.unwrap();
        assert_eq!(desk(&mut call, None).await.1.end, busy);
    }
    {
        let seen = seen.lock().unwrap();
        let invite = seen.iter().find(|t| t.starts_with("INVITE")).unwrap();
        assert!(invite.contains("Via: SIP/2.0/TCP "), "{invite}");
        assert!(
            invite.to_lowercase().contains(";transport=tcp>"),
            "{invite}"
        );
        assert!(!invite.contains("Route:"), "{invite}");
        assert!(seen.iter().any(|t| t.starts_with("ACK")));
    }
    trunk.abort();
    // The listener is gone, and so are its streams once they are used.
    drop(seen);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let world = World::with(address, |config| {
        config.trunks[0].transport = config::TransportName::Tcp;
    })
    .await;
    let began = Instant::now();
    let mut call = world.place("nobody", LIMIT).await.unwrap();
    assert_eq!(desk(&mut call, None).await.1.end, End::Unreachable);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(world.engine.trunk_up("t"), Some(false));
}

/// A trunk on UDP at this address that is busy, and hears what `log` gets.
fn udp_trunk(address: SocketAddr, log: Arc<std::sync::Mutex<Vec<String>>>) {
    let socket = std::net::UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 8_192];
        loop {
            let (length, from) = socket.recv_from(&mut buf).await.unwrap();
            let text = String::from_utf8_lossy(&buf[..length]).into_owned();
            let answer = match text.split(' ').next() {
                Some("OPTIONS") => odd::reply(&text, "200 OK", ""),
                Some("INVITE") => odd::reply(&text, "486 Busy Here", ""),
                _ => continue,
            };
            log.lock().unwrap().push(text);
            socket.send_to(answer.as_bytes(), from).await.unwrap();
        }
    });
}

/// RFC 3261 §18.1.1: what may not fit into one packet goes by TCP, and by UDP all the same where
/// nobody listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_invite_goes_by_tcp_where_the_trunk_speaks_it() {
    let by_tcp = Arc::new(std::sync::Mutex::new(Vec::new()));
    let by_udp = Arc::new(std::sync::Mutex::new(Vec::new()));
    let invites = |log: &Arc<std::sync::Mutex<Vec<String>>>| {
        let log = log.lock().unwrap();
        log.iter().filter(|text| text.starts_with("INVITE")).count()
    };
    let log = Arc::clone(&by_tcp);
    let (address, trunk) = tcp_trunk(move |text| {
        log.lock().unwrap().push(text.to_owned());
        match text.split(' ').next() {
            Some("INVITE") => vec![odd::reply(text, "486 Busy Here", "")],
            _ => vec![],
        }
    })
    .await;
    udp_trunk(address, Arc::clone(&by_udp));
    let busy = End::Refused {
        code: 486,
        q850: None,
    };
    let world = World::with(address, |_| ()).await;
    for (id, tcp, udp) in [("small", 0, 1), (&*"large".repeat(200), 1, 1)] {
        let mut call = world.place(id, LIMIT).await.unwrap();
        assert_eq!(desk(&mut call, None).await.1.end, busy);
        assert_eq!((invites(&by_tcp), invites(&by_udp)), (tcp, udp));
    }
    trunk.abort();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    udp_trunk(address, Arc::clone(&by_udp));
    let world = World::with(address, |_| ()).await;
    let mut call = world.place(&"large".repeat(200), LIMIT).await.unwrap();
    assert_eq!(desk(&mut call, None).await.1.end, busy);
    assert_eq!((invites(&by_tcp), invites(&by_udp)), (1, 2));
}
