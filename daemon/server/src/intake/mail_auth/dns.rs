//! A name server on loopback for tests: it knows what it is told, does not answer what it is
//! told to keep silent about, and denies the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;

/// Says nothing about this name.
pub(super) const SILENT: &str = "(silent)";
/// Answers with a failure of the server.
pub(super) const BROKEN: &str = "(broken)";

/// A name server with TXT records by name.
pub(super) struct Dns {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    pub(super) async fn serve(records: &[(&str, &str)]) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let known = |(name, text): &(&str, &str)| (format!("{name}."), (*text).to_owned());
        let records: BTreeMap<String, String> = records.iter().map(known).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&records, &buffer[..length]) {
                    socket.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        Dns { address, asked }
    }

    /// Questions so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(records: &BTreeMap<String, String>, question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_ascii().to_lowercase();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.metadata.recursion_desired = true;
    match records.get(&name).map(String::as_str) {
        Some(SILENT) => return None,
        Some(BROKEN) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(text) => {
            let pieces = text.as_bytes().chunks(200).collect();
            let data = RData::TXT(TXT::from_bytes(pieces));
            answer.add_answer(Record::from_rdata(query.name().clone(), 300, data));
        }
        None => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            // Says how long the denial holds.
            let root = Name::root();
            let soa = SOA::new(root.clone(), root.clone(), 1, 300, 300, 300, 300);
            answer.add_authority(Record::from_rdata(root, 300, RData::SOA(soa)));
        }
    }
    answer.add_query(query);
    Some(answer.to_vec().unwrap())
}
