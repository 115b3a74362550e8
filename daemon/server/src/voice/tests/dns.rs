//! A DNS server of a few lines, on UDP: it answers A and SRV from a table that a test
//! may change, and can fall silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;

/// A record: what a name holds.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// An address.
    A(Ipv4Addr),
    /// A service: priority, weight, port, host.
    Srv(u16, u16, u16, &'static str),
}

type Zone = Vec<(&'static str, Record)>;

/// The running server; it ends when dropped.
pub(crate) struct Dns {
    /// Where to ask it.
    pub(crate) address: SocketAddr,
    /// The zone; `None`: it does not answer.
    zone: Arc<Mutex<Option<Zone>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Dns {
    pub(crate) async fn start(zone: Zone) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Some(zone)));
        let shared = Arc::clone(&zone);
        let task = tokio::spawn(async move {
            let mut buf = [0; 1_500];
            loop {
                let (len, from) = socket.recv_from(&mut buf).await.unwrap();
                let answer = shared
                    .lock()
                    .unwrap()
                    .as_ref()
                    .map(|z| reply(&buf[..len], z));
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Dns {
            address,
            zone,
            task,
        }
    }

    /// Another zone from now on; `None`: silence.
    pub(crate) fn set(&self, zone: Option<Zone>) {
        *self.zone.lock().unwrap() = zone;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Records live so long: the least the daemon takes.
const TTL: Duration = Duration::from_secs(1);

fn reply(query: &[u8], zone: &Zone) -> Vec<u8> {
    let (name, end) = name_at(query, 12);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let held: Vec<Vec<u8>> = zone
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(&name))
        .filter_map(|(_, record)| data(record, kind))
        .collect();
    let known = zone.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name));
    let mut answer = query[..2].to_vec();
    answer.extend([0x85, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::try_from(held.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(&query[12..end + 4]);
    for data in held {
        answer.extend([0xc0, 12]);
        answer.extend(&query[end..end + 4]);
        answer.extend(u32::try_from(TTL.as_secs()).unwrap().to_be_bytes());
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    answer
}

fn name_at(query: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        let label = &query[at + 1..=at + length];
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += 1 + length;
    }
    (labels.join("."), at + 1)
}

fn data(record: &Record, kind: u16) -> Option<Vec<u8>> {
    match (record, kind) {
        (Record::A(ip), 1) => Some(ip.octets().to_vec()),
        (Record::Srv(priority, weight, port, host), 33) => {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend(number.to_be_bytes());
            }
            for label in host.split('.') {
                data.push(u8::try_from(label.len()).unwrap());
                data.extend(label.as_bytes());
            }
            data.push(0);
            Some(data)
        }
        _ => None,
    }
}
