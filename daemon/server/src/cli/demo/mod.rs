//! `helpline demo`: the whole way of two requests on this machine. No trunk, no mail
//! server, no phone is needed: the daemon runs on loopback, mail goes to a folder, and a
//! test phone plays the trunk and both customers.

mod customer;
mod mailbox;
mod story;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use helpline_core::ivr::io::Key;
use tokio::sync::mpsc;

use self::customer::{Customer, fill_in_form, write_mail};
use self::story::Story;
use crate::cli::client::get;
use crate::clock::Clock;
use crate::config::{Config, Period, Queue, Trunk};
use crate::daemon::Daemon;
use crate::voice::media::{Media, MediaConfig};
use crate::voice::phone::{Behaviour, Digits, PhoneConfig, PhoneEvent, PickUp, Press, TestPhone};

/// The steps that have to be seen, in the order of the story.
const STEPS: [&str; 12] = [
    "up",
    "mail accepted",
    "mail answered",
    "form accepted",
    "form answered",
    "first call",
    "first accepted",
    "second call",
    "second accepted",
    "in order",
    "done",
    "heard",
];
/// No step takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The phone presses 1 so long after it answered: in the middle of the greeting.
const PRESS_AFTER: Duration = Duration::from_millis(4_500);
/// What the help flow says is heard for so long before the customer hangs up.
const TALK: Duration = Duration::from_secs(11);

const ADA: Customer = Customer {
    name: "Ada",
    email: "ada@customer.example",
    number: "+442079460101",
    page: "https://shop.example/basket?id=7",
};
const BEN: Customer = Customer {
    name: "Ben",
    email: "ben@customer.example",
    number: "+442079460102",
    page: "https://shop.example/orders/1815",
};

/// Arguments of `helpline demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End after the story instead of staying up. Exit code 0 only if every step was seen.
    #[arg(long)]
    exit: bool,
    /// Folder for database, mail and recordings; it must be new. Default: a fresh temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // The story is told on the terminal; the log only speaks up when something is wrong.
        crate::log::init_with("warn");
        let dir = self.folder()?;
        let story = Story::new();
        let told = tell(&story, &dir).await;
        let (daemon, phone) = match told {
            Ok(running) => running,
            Err(error) => {
                eprintln!("helpline: the story broke off: {error:#}");
                eprintln!("not seen: {}", story.missing().join(", "));
                return Ok(ExitCode::FAILURE);
            }
        };
        let missing = story.missing();
        let code = if missing.is_empty() {
            story.note("every step was seen");
            ExitCode::SUCCESS
        } else {
            eprintln!("not seen: {}", missing.join(", "));
            ExitCode::FAILURE
        };
        if !self.exit {
            let at = daemon.addresses();
            let http = at.http.context("no web listener")?;
            println!("\nThe daemon stays up. Open http://{http}/help, or ask:");
            println!(
                "  curl -sS http://{http}/api/requests -H 'Content-Type: application/json' -d '{{\"phone\":\"+442079460103\"}}'"
            );
            println!(
                "Health: http://{}/health   Files: {}   Ctrl-C ends it.",
                at.ops,
                dir.display()
            );
            tokio::signal::ctrl_c().await?;
        }
        daemon.stop(Duration::from_secs(2)).await;
        phone.stop().await;
        Ok(code)
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => std::env::temp_dir().join(format!("helpline-demo-{}", std::process::id())),
        };
        ensure!(
            !dir.exists(),
            "{} exists; the demo wants a new folder",
            dir.display()
        );
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }
}

/// Tells the story up to its end; the daemon and the phone still run afterwards.
async fn tell(story: &Story, dir: &Path) -> anyhow::Result<(Daemon, TestPhone)> {
    let (phone, rings) = start_phone(customers(dir)?).await?;
    let calls = tokio::spawn(follow(story.clone(), rings));
    let config = config(dir, phone.address())?;
    let to = config.smtp.addresses.first().cloned().unwrap_or_default();
    let mails = dir.join("mail");
    let daemon = Daemon::start(config, Clock::system()).await?;
    let at = daemon.addresses();
    let smtp = at.smtp.context("no SMTP receiver")?;
    let http = at.http.context("no web listener")?;
    let sip = at.sip.context("no SIP socket")?;
    story.step(
        "up",
        &format!("helpline is up: web http://{http}  mail smtp://{smtp}  SIP {sip}"),
    );
    story.note("one call at a time is allowed, so that the second customer has to wait");

    let answer = write_mail(&ADA, smtp, &to).await?;
    story.step(
        "mail accepted",
        &format!("Ada writes a mail; it is on disk: {answer}"),
    );
    let ada_mail = mailbox::wait_for(&mails, ADA.email, PATIENCE).await?;
    story.quote("mail answered", "Ada gets this reply:", &ada_mail);

    let base = format!("http://{http}");
    let ben_status = fill_in_form(&BEN, &base).await?;
    story.step(
        "form accepted",
        &format!("Ben fills in the form; it is on disk: {ben_status}"),
    );
    let ben_mail = mailbox::wait_for(&mails, BEN.email, PATIENCE).await?;
    story.quote("form answered", "Ben gets this reply:", &ben_mail);

    let called = calls.await??;
    ensure!(
        called == [ADA.number, BEN.number],
        "called in the wrong order: {called:?}"
    );
    story.step("in order", "order received was order called");

    let ada_status =
        mailbox::status_link(&ada_mail).context("Ada's reply has no link to her status page")?;
    for status in [&ada_status, &ben_status] {
        wait_done(status).await?;
    }
    story.step("done", "both requests are done");
    let heard: Vec<String> = recordings(dir)?
        .iter()
        .map(|(name, seconds)| format!("{name} ({seconds:.1} s)"))
        .collect();
    story.step("heard", &format!("what they heard: {}", heard.join(", ")));
    story.note(&format!("status pages: {ada_status}  {ben_status}"));
    Ok((daemon, phone))
}

/// What the customers do when their phone rings: answer, listen, press 1, listen, hang up.
fn customers(dir: &Path) -> anyhow::Result<Behaviour> {
    let one = Key::new('1').context("no key")?;
    Ok(Behaviour {
        ring: Duration::from_millis(1_500),
        pick_up: PickUp::Answer,
        password: None,
        presses: vec![Press {
            after: PRESS_AFTER,
            key: one,
        }],
        digits: Digits::Rfc4733,
        hang_up_after: Some(PRESS_AFTER + TALK),
        record_to: Some(dir.to_owned()),
        ..Behaviour::default()
    })
}

/// The phone at the other end of the "trunk": every number that is called rings here.
pub(super) async fn start_phone(
    behaviour: Behaviour,
) -> anyhow::Result<(TestPhone, mpsc::Receiver<PhoneEvent>)> {
    let media = Media::start(MediaConfig {
        address: Ipv4Addr::LOCALHOST.into(),
        ports: (33_000, 33_998),
        threads: 1,
        no_rtp: Duration::from_secs(60),
    })?;
    let config = PhoneConfig {
        listen: free_udp()?,
        behaviour,
        seed: 1,
    };
    TestPhone::start(config, media, Clock::system()).await
}

/// Embedded defaults on free loopback ports; the trunk is the test phone.
pub(super) fn config(dir: &Path, phone: SocketAddr) -> anyhow::Result<Config> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.site.name = "Example Shop".into();
    config.store.dir = dir.join("data");
    config.http.listen = free_tcp()?;
    config.ops.listen = free;
    config.smtp.listen = free;
    config.smtp.addresses = vec!["help@shop.example".into()];
    config.mail.directory = Some(dir.join("mail"));
    config.voice.sip_listen = free_udp()?;
    config.voice.rtp_ports.0 = (34_000, 34_998);
    config.dial.allow = vec!["GB".into()];
    config.dial.region = Some("GB".into());
    config.trunk.push(Trunk {
        name: "demo".into(),
        target: phone.to_string(),
        caller_id: "+442079460000".into(),
        max_channels: 4,
        calls_per_second: 10.0,
        ..Trunk::default()
    });
    config.queue.push(Queue {
        title: "Shop help".into(),
        max_calls: 1,
        mean_handling: Period(Duration::from_secs(300)),
        ..Queue::default()
    });
    Ok(config)
}

/// Follows both calls; the numbers in the order they were called.
async fn follow(
    story: Story,
    mut rings: mpsc::Receiver<PhoneEvent>,
) -> anyhow::Result<[String; 2]> {
    let first = call(&story, &mut rings, ["first call", "first accepted"]).await?;
    let second = call(&story, &mut rings, ["second call", "second accepted"]).await?;
    Ok([first, second])
}

/// Follows one call from its ring to its end; the number that was called.
async fn call(
    story: &Story,
    rings: &mut mpsc::Receiver<PhoneEvent>,
    steps: [&'static str; 2],
) -> anyhow::Result<String> {
    let mut number = String::new();
    let mut steps = steps.into_iter();
    let mut step = move || steps.next().unwrap_or_default();
    loop {
        let event = tokio::time::timeout(PATIENCE, rings.recv()).await;
        match event
            .context("the phone did not ring")?
            .context("the phone is gone")?
        {
            PhoneEvent::Rang { to, .. } => {
                number.clone_from(&to);
                story.step(step(), &format!("the phone {to} rings"));
            }
            PhoneEvent::Answered { .. } => story.note("it is answered; the greeting plays"),
            PhoneEvent::Pressed { key, .. } => {
                story.step(
                    step(),
                    &format!("the customer presses {key}: accepted, help begins"),
                );
            }
            PhoneEvent::Heard { .. } => {}
            PhoneEvent::Over { by_far_end, .. } => {
                story.note(if by_far_end {
                    "helpline ends the call"
                } else {
                    "the customer hangs up"
                });
                return Ok(number);
            }
        }
    }
}

/// Waits until the request behind a status page is done.
async fn wait_done(status_url: &str) -> anyhow::Result<()> {
    let mut state = String::new();
    for _ in 0..100 {
        let answer = get(&format!("{status_url}/status")).await?;
        let json: serde_json::Value = serde_json::from_str(&answer.text())?;
        state = json["state"].as_str().unwrap_or_default().to_owned();
        if state == "done" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{status_url} is {state:?}, not done")
}

/// Recordings with their length in seconds; each must hold sound.
fn recordings(dir: &Path) -> anyhow::Result<Vec<(String, f64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "wav") {
            continue;
        }
        let samples = samples(&std::fs::read(&path)?);
        let loud = samples.iter().filter(|s| s.unsigned_abs() > 500).count();
        ensure!(loud > 8_000, "{} holds no speech", path.display());
        let seconds = f64::from(u32::try_from(samples.len())?) / 8_000.0;
        found.push((path.display().to_string(), seconds));
    }
    ensure!(found.len() == 2, "{} recordings instead of 2", found.len());
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Samples of a WAV file with the usual 44 bytes of header.
fn samples(wav: &[u8]) -> Vec<i16> {
    let data = wav.get(44..).unwrap_or_default();
    data.as_chunks::<2>()
        .0
        .iter()
        .map(|pair| i16::from_le_bytes(*pair))
        .collect()
}

fn free_udp() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(super) fn free_tcp() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
