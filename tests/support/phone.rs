//! Telephones and trunks of other makers: SIPp's scenarios with their words filled in,
//! keys as captured packets or as sound, and the configuration of baresip.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::process::{Daemon, Program, free_port, free_run};
use super::sipp::Script;

/// Folder of the captured telephone events of Debian's sip-tester.
const CAPTURES: &str = "/usr/share/sip-tester";
/// From one key to the next.
const KEY_EVERY_MS: u32 = 900;
/// What a comma among keys waits.
const COMMA_MS: u32 = 1_000;
/// How long a held key is down: longer than a flow of the tests waits between keys.
const HELD_MS: u32 = 3_000;

/// Folder of the peers' files.
pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers")
}

/// Writes a scenario into `dir` with `[key]` replaced by its value. SIPp reads status
/// lines and actions when it loads a scenario, so its own keys come too late.
pub(crate) fn scenario(name: &str, keys: &[(&str, &str)], dir: &Path) -> PathBuf {
    let file = format!("{name}.xml");
    let mut text = fs::read_to_string(peers().join("sipp").join(&file)).unwrap();
    for (key, value) in keys {
        text = text.replace(&format!("[{key}]"), value);
    }
    let path = dir.join(file);
    fs::write(&path, text).unwrap();
    path
}

/// Actions that send `keys` as captured telephone events (RFC 4733); a comma waits, and a
/// key before `_` is held down for [`HELD_MS`]. The captures are written into `dir`.
pub(crate) fn events_of(keys: &str, dir: &Path) -> String {
    let mut actions = String::new();
    for (place, key) in (0u16..).zip(keys.chars()) {
        let name = match key {
            ',' => {
                let _ = writeln!(actions, "<pause milliseconds=\"{COMMA_MS}\" />");
                continue;
            }
            '_' => {
                let _ = writeln!(actions, "<pause milliseconds=\"{HELD_MS}\" />");
                continue;
            }
            '*' => "star".to_owned(),
            '#' => "pound".to_owned(),
            digit => digit.to_string(),
        };
        if !actions.is_empty() {
            let _ = writeln!(actions, "<pause milliseconds=\"{KEY_EVERY_MS}\" />");
        }
        let capture = Path::new(CAPTURES).join(format!("dtmf_2833_{name}.pcap"));
        let capture = fs::read(capture)
            .expect("captures of package sip-tester; run tests/run, it installs it");
        let file = format!("key.{place}.pcap");
        let is_held = keys.chars().nth(usize::from(place) + 1) == Some('_');
        let capture = if is_held { held(&capture) } else { capture };
        fs::write(dir.join(&file), placed(capture, place)).unwrap();
        let _ = writeln!(
            actions,
            "<nop><action><exec play_pcap_audio=\"{file}\" /></action></nop>"
        );
    }
    actions
}

/// The capture of a key as if it had been held: its first packet again and again, each 20 ms
/// longer, and its last three at the end.
fn held(capture: &[u8]) -> Vec<u8> {
    /// A packet of a capture: 16 bytes of its own, 42 of headers, 12 of RTP and the event.
    const PACKET: usize = 16 + 42 + 16;
    let (file, packets) = capture.split_at(24);
    let (first, lasts) = (&packets[..PACKET], &packets[packets.len() - 3 * PACKET..]);
    let mut long = file.to_vec();
    let slots = u16::try_from(HELD_MS / 20).unwrap();
    let mut add = |packet: &[u8], slot: u16| {
        let mut packet = packet.to_vec();
        let micros = u32::from(slot) * 20_000;
        packet[..4].copy_from_slice(&(1 + micros / 1_000_000).to_le_bytes());
        packet[4..8].copy_from_slice(&(micros % 1_000_000).to_le_bytes());
        packet[PACKET - 2..].copy_from_slice(&(slot * 160).to_be_bytes());
        long.extend(packet);
    };
    for slot in 0..slots {
        add(first, slot);
    }
    for last in lasts.chunks(PACKET) {
        add(last, slots);
    }
    long
}

/// A capture whose packets stand at a place of their own in the stream. SIPp sends them
/// as they are, and a key with the numbers of an earlier one is a repetition of it.
fn placed(mut capture: Vec<u8>, place: u16) -> Vec<u8> {
    /// Headers of Ethernet, IPv4 and UDP before RTP.
    const RTP: usize = 14 + 20 + 8;
    let mut at = 24; // the header of the file
    let mut number = 0;
    while let Some(length) = capture.get(at + 8..at + 12) {
        let length = u32::from_le_bytes(length.try_into().unwrap());
        let rtp = at + 16 + RTP;
        let sequence = 1_000 + place * 200 + number;
        capture[rtp + 2..rtp + 4].copy_from_slice(&sequence.to_be_bytes());
        let timestamp = 8_000 * (1 + u32::from(place));
        capture[rtp + 4..rtp + 8].copy_from_slice(&timestamp.to_be_bytes());
        at += 16 + usize::try_from(length).unwrap();
        number += 1;
    }
    capture
}

/// 120 ms of each key's two tones and 400 ms of silence, in mu-law; a comma is silence.
pub(crate) fn sound_of(keys: &str) -> Vec<u8> {
    let rows = [697.0, 770.0, 852.0, 941.0];
    let columns = [1209.0, 1336.0, 1477.0, 1633.0];
    let pad = ["123A", "456B", "789C", "*0#D"];
    let mut bytes = vec![0xff; 1_600];
    for key in keys.chars() {
        let Some(row) = pad.iter().position(|r| r.contains(key)) else {
            bytes.extend(vec![0xff; usize::try_from(COMMA_MS).unwrap() * 8]);
            continue;
        };
        let column = pad[row].find(key).unwrap();
        for n in 0..960 {
            let turn = TAU * f64::from(n) / 8_000.0;
            let sum = (turn * rows[row]).sin() + (turn * columns[column]).sin();
            #[allow(clippy::cast_possible_truncation)] // within 16 bits by its factor
            bytes.push(mu_law((sum * 6_000.0) as i16));
        }
        bytes.extend([0xff; 3_200]);
    }
    bytes
}

/// G.711 mu-law by its segments, written apart from the daemon's own.
fn mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = u32::from(sample.unsigned_abs()).min(32_635) + 132;
    let exponent = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !u8::try_from(sign | (exponent << 4) | mantissa).unwrap()
}

/// A WAV file: 8 kHz, 16 bits, mono.
pub(crate) fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).unwrap();
    let mut file = Vec::from(*b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8_000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    file
}

/// Configures a baresip in `dir` that answers by itself on `sip_port`, sounds at a steady
/// level for so long in each minute, records what it hears, and takes orders on the TCP
/// port returned.
pub(crate) fn configure_baresip(dir: &Path, sip_port: u16, sounds: Duration) -> u16 {
    let (control, rtp) = (free_port(), free_run(22));
    let tone = dir.join("tone.wav");
    let loud = sounds.as_millis() as usize * 8;
    let minute: Vec<i16> = (0..480_000)
        .map(|n| if n < loud { 3_000 } else { 0 })
        .collect();
    fs::write(&tone, wav(&minute)).unwrap();
    for file in ["config", "accounts"] {
        let text = fs::read_to_string(peers().join("baresip").join(file)).unwrap();
        let text = text
            .replace("[sip_port]", &sip_port.to_string())
            .replace("[control_port]", &control.to_string())
            .replace("[tone]", tone.to_str().unwrap())
            .replace("[dir]", dir.to_str().unwrap())
            .replace("[rtp_ports]", &format!("{rtp}-{}", rtp + 20));
        fs::write(dir.join(file), text).unwrap();
    }
    control
}

/// An order to baresip, as it is sent to its control port (a netstring of JSON).
pub(crate) fn baresip_order(command: &str, params: &str) -> String {
    let order = format!("{{\"command\":\"{command}\",\"params\":\"{params}\",\"token\":\"t\"}}");
    format!("{}:{order},", order.len())
}

/// A running baresip that takes orders.
pub(crate) struct Baresip {
    /// The program.
    pub(crate) program: Program,
    /// What it hears is here.
    pub(crate) dir: PathBuf,
    orders: TcpStream,
}

impl Baresip {
    /// One that waits on `port`, and sounds so long in each minute; with an `account` it is that
    /// one instead of a customer's.
    pub(crate) fn start(
        dir: PathBuf,
        port: u16,
        sounds: Duration,
        account: Option<&str>,
    ) -> Baresip {
        fs::create_dir(&dir).unwrap();
        let control = configure_baresip(&dir, port, sounds);
        if let Some(account) = account {
            fs::write(dir.join("accounts"), format!("{account}\n")).unwrap();
        }
        let mut command = Command::new("baresip");
        command.args(["-f", dir.to_str().unwrap(), "-t", "90"]);
        let program = Program::start(command, &dir.join("said"));
        wait_bound(port);
        Baresip {
            program,
            orders: connect(control),
            dir,
        }
    }

    /// Gives it an order.
    pub(crate) fn order(&mut self, command: &str, params: &str) {
        let order = baresip_order(command, params);
        self.orders.write_all(order.as_bytes()).unwrap();
    }

    /// Whether a call has come.
    pub(crate) fn is_rung(&self) -> bool {
        self.program.log().contains("ncoming call")
    }

    /// Presses a key in its call.
    pub(crate) fn press(&mut self, key: char) {
        self.order("sndcode", &key.to_string());
        sleep(Duration::from_millis(600));
    }
}

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "control port of baresip: {error}"),
        }
        sleep(Duration::from_millis(50));
    }
}

/// Samples above a thirtieth of full scale in what the baresip of `dir` heard.
pub(crate) fn loud_samples(dir: &Path) -> usize {
    let files = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let heard = files.filter(|f| f.to_string_lossy().ends_with("-dec.wav"));
    let heard = fs::read(heard.last().expect("a recording")).unwrap();
    heard[44..]
        .chunks_exact(2)
        .filter(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 1_000)
        .count()
}

/// Whether a UDP or a TCP socket has the port. Looked up, not tried: a bind of ours could be in
/// the way of the peer's.
pub(crate) fn is_bound(port: u16) -> bool {
    let entry = format!(":{port:04X} 00000000:0000 ");
    ["udp", "tcp"].iter().any(|kind| {
        let sockets = fs::read_to_string(format!("/proc/net/{kind}"));
        sockets.unwrap().contains(&entry)
    })
}

/// Waits until a socket has the port. SIPp gives it back once while it starts, and what
/// comes meanwhile gets ICMP: it must be there for a while.
pub(crate) fn wait_bound(port: u16) {
    let end = Instant::now() + Duration::from_secs(10);
    let mut seen = 0;
    while seen < 10 {
        assert!(Instant::now() < end, "nothing took port {port}");
        seen = if is_bound(port) { seen + 1 } else { 0 };
        sleep(Duration::from_millis(20));
    }
}

/// SIPp as a trunk on `port` with a scenario of its own or, by `-sn`, a built-in one;
/// its messages go to `log`.
pub(crate) fn sipp_trunk(port: u16, scenario: &[&str], log: &Path) -> Program {
    let mut command = Command::new("sipp");
    command
        .args(scenario)
        .args(["-i", "127.0.0.1", "-nostdin", "-p", &port.to_string()])
        .args(["-mi", "127.0.0.1", "-mp", &free_run(4).to_string()])
        .args(["-trace_msg", "-message_file"])
        .arg(log)
        .current_dir(log.parent().unwrap());
    let sipp = Program::start(command, &log.with_extension("out"));
    wait_bound(port);
    sipp
}

/// A SIPp that refuses every call with `status`; its messages go to `log`.
pub(crate) fn refusing_trunk(port: u16, status: &str, log: &Path) -> Program {
    let dir = log.parent().unwrap();
    let file = scenario("uas_refuse", &[("status", status)], dir);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("Reason: [reason]\n", "")).unwrap();
    sipp_trunk(port, &["-sf", file.to_str().unwrap()], log)
}

/// Configuration: a trunk at `port` and the queue with one call at a time; both may be
/// given more keys.
pub(crate) fn trunk_config(port: u16, trunk: &str, queue: &str) -> String {
    format!(
        "[[trunk]]\nname = \"sipp\"\ntarget = \"127.0.0.1:{port}\"\ncaller_id = \"+442079460000\"\ncalls_per_second = 100.0\n\
         {trunk}\n[[queue]]\nname = \"help\"\nmax_calls = 1\n{queue}\n"
    )
}

/// Numbers in the order of their INVITEs in a log of SIPp.
pub(crate) fn called(log: &Path) -> Vec<String> {
    let mut order = Vec::new();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        if let Some(rest) = line.strip_prefix("INVITE sip:")
            && let Some((user, _)) = rest.split_once('@')
            && !order.contains(&user.to_owned())
        {
            order.push(user.to_owned());
        }
    }
    order
}

/// How a caller's keys travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Telephone events (RFC 4733).
    Events,
    /// Sound alone.
    Sound,
}

/// SIPp calls the daemon from `number` and presses `keys`; its Call-ID begins with `name`.
pub(crate) fn sipp_caller(
    daemon: &Daemon,
    name: &str,
    number: &str,
    way: Keys,
    keys: &str,
) -> Program {
    let dir = daemon.dir.path().join(name);
    fs::create_dir(&dir).unwrap();
    let file = match way {
        Keys::Events => {
            let events = events_of(keys, &dir);
            scenario("uac_keys", &[("caller", number), ("keys", &events)], &dir)
        }
        Keys::Sound => {
            fs::write(dir.join("keys.ulaw"), sound_of(keys)).unwrap();
            scenario("uac_sound", &[("caller", number)], &dir)
        }
    };
    call_by(daemon, name, &file, &dir)
}

/// SIPp calls the daemon as this script has it; its Call-ID begins with `name`.
pub(crate) fn scripted_caller(daemon: &Daemon, name: &str, script: Script) -> Program {
    let dir = daemon.dir.path().join(name);
    fs::create_dir(&dir).unwrap();
    let (file, _) = script.write(&dir);
    call_by(daemon, name, &file, &dir)
}

fn call_by(daemon: &Daemon, name: &str, file: &Path, dir: &Path) -> Program {
    let mut command = Command::new("sipp");
    command
        .arg(format!("127.0.0.1:{}", daemon.sip))
        .arg("-sf")
        .arg(file)
        .args(["-i", "127.0.0.1", "-p", &free_port().to_string()])
        .args(["-mi", "127.0.0.1", "-mp", &free_run(4).to_string()])
        .args(["-cid_str", &format!("{name}-%u-%p@%s")])
        .args(["-m", "1", "-nostdin", "-trace_err"])
        .args(["-timeout", "50s", "-timeout_error"])
        .current_dir(dir);
    Program::start(command, &dir.join("out"))
}
