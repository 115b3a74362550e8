//! The built binary as a process, and other programs beside it. Each is ended by its
//! own pid when dropped; each wait is bounded.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// A program that a test started.
pub(crate) struct Program {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Program {
    /// Starts `command` with its output in `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Program {
        let out = fs::File::create(log).unwrap();
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; run tests/run, it installs it"));
        Program {
            child,
            name,
            log: log.to_owned(),
        }
    }

    /// The exit code within `limit`; panics with the log otherwise.
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            sleep(Duration::from_millis(20));
        }
        panic!(
            "{} did not end within {limit:?}:\n{}",
            self.name,
            self.log()
        )
    }

    /// Whether it ends by itself within `limit`.
    pub(crate) fn ends(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a power cut would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill(); // it may be gone already
        let _ = self.child.wait();
    }

    /// Sends it a signal; it may be gone already.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of this test process, free for TCP and UDP. Each is given once, and none is
/// of the range from which the kernel gives ports to others.
pub(crate) fn free_port() -> u16 {
    free_run(1)
}

/// The first of `count` free ports in a row, an even one if they are more than one, as
/// RTP with its RTCP wants them.
pub(crate) fn free_run(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 50).unwrap() * 100;
    let is_free = |port: u16| {
        TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok()
    };
    let (taken, even) = if count == 1 { (1, 0) } else { (count + 1, 1) };
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(taken, Ordering::Relaxed)) % 6_000;
        let port = port + (port & even);
        if (port..port + count).all(is_free) {
            return port;
        }
    }
}

/// A daemon with a folder of its own: `serve` on free ports.
pub(crate) struct Daemon {
    /// Its folder: configuration, database, mail, logs.
    pub(crate) dir: tempfile::TempDir,
    /// Web listener.
    pub(crate) http: u16,
    /// Health and metrics.
    pub(crate) ops: u16,
    /// SMTP receiver.
    pub(crate) smtp: u16,
    /// SIP socket.
    pub(crate) sip: u16,
    /// Environment of the next start.
    pub(crate) env: Vec<(String, String)>,
    /// A program that starts it, with its arguments.
    under: Vec<String>,
    program: Option<Program>,
    starts: u32,
}

impl Daemon {
    /// A daemon whose configuration is the ports plus `extra`; it is not started yet.
    pub(crate) fn new(extra: &str) -> Daemon {
        let daemon = Daemon {
            dir: tempfile::tempdir().unwrap(),
            http: free_port(),
            ops: free_port(),
            smtp: free_port(),
            sip: free_port(),
            env: Vec::new(),
            under: Vec::new(),
            program: None,
            starts: 0,
        };
        daemon.configure(extra);
        daemon
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, extra: &str) {
        let text = format!(
            "[store]\ndir = \"{dir}/data\"\n[http]\nlisten = \"127.0.0.1:{http}\"\nrequests_per_minute = 100000\n\
             [ops]\nlisten = \"127.0.0.1:{ops}\"\n\
             [smtp]\nlisten = \"127.0.0.1:{smtp}\"\naddresses = [\"help@help.test\"]\n\
             [mail]\ndirectory = \"{dir}/mail\"\n[dial]\nallow = [\"GB\", \"DE\"]\nregion = \"GB\"\n{extra}\n",
            dir = self.dir.path().display(),
            http = self.http,
            ops = self.ops,
            smtp = self.smtp,
        );
        let text = text.replace(
            "[voice]\n",
            &format!("[voice]\nsip_listen = \"127.0.0.1:{}\"\n", self.sip),
        );
        let text = if text.contains("[voice]") {
            text
        } else {
            format!("{text}\n[voice]\nsip_listen = \"127.0.0.1:{}\"\n", self.sip)
        };
        fs::write(self.config_path(), text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("helpline.toml")
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&mut self) -> &mut Program {
        let binary = env!("CARGO_BIN_EXE_helpline").to_owned();
        let mut words = self.under.iter().chain([&binary]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .arg("serve")
            .arg("--config")
            .arg(self.config_path());
        command.env("HELPLINE_LOG", "helpline=debug");
        command.envs(self.env.iter().cloned());
        self.starts += 1;
        let log = self.dir.path().join(format!("log.{}", self.starts));
        self.program.insert(Program::start(command, &log))
    }

    /// From the next start on strace does this to its system calls (`inject` of strace(1)). By
    /// `-D` the program that is started is the daemon itself, and strace ends with it.
    pub(crate) fn tamper(&mut self, calls: &str, inject: &str) {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{inject}"));
        let words = [
            "strace",
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        self.under = words.map(str::to_owned).to_vec();
    }

    /// From the next start on systemd's helper opens these sockets, waits for the first who
    /// comes, and passes them by name.
    pub(crate) fn activate(&mut self, sockets: &[(&str, String)]) {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        self.under = vec!["systemd-socket-activate".to_owned()];
        self.under.push(format!("--fdname={}", names.join(":")));
        for (_, address) in sockets {
            self.under.extend(["-l".to_owned(), address.clone()]);
        }
    }

    /// The next start is an ordinary one.
    pub(crate) fn leave_alone(&mut self) {
        self.under.clear();
    }

    /// Gives it the database of a daemon that has done nothing yet, before its first start.
    pub(crate) fn with_tables(&self) {
        static FILE: OnceLock<Vec<u8>> = OnceLock::new();
        let file = FILE.get_or_init(|| {
            let mut daemon = Daemon::new("");
            daemon.start();
            assert_eq!(daemon.stop(), 0, "{}", daemon.log());
            fs::read(daemon.dir.path().join("data/helpline.db")).unwrap()
        });
        let data = self.dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("helpline.db"), file).unwrap();
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until `/readyz` is 200 or names nothing but `allowed` as missing.
    pub(crate) fn wait_ready(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        let mut last = String::new();
        while Instant::now() < end {
            if let Ok(answer) = http(self.ops, "GET", "/readyz", &[], "") {
                if answer.status == 200 {
                    return;
                }
                last = answer.body;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("not ready: {last}\n{}", self.log());
    }

    /// The running program.
    pub(crate) fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("the daemon was not started")
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.program().kill();
    }

    /// SIGTERM and its exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.program().signal(Signal::SIGTERM);
        self.program().exit_code(Duration::from_secs(30))
    }

    /// What the present process wrote.
    pub(crate) fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    /// POST a request for `number`; panics unless it is accepted. The JSON answer.
    pub(crate) fn ask(&self, number: &str) -> serde_json::Value {
        let body = format!("{{\"phone\":\"{number}\",\"email\":\"ada@cust.test\"}}");
        let answer = self.post_json(&body, &[]).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// POST /api/requests.
    pub(crate) fn post_json(
        &self,
        body: &str,
        headers: &[(&str, &str)],
    ) -> std::io::Result<Answer> {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        http(self.http, "POST", "/api/requests", &all, body)
    }

    /// The database file, for looking at rows.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let script = "import sqlite3,sys,json\n\
            c=sqlite3.connect('file:'+sys.argv[1]+'?mode=ro',uri=True,timeout=10)\n\
            print(json.dumps([[str(v) for v in r] for r in c.execute(sys.argv[2])]))";
        let db = self.dir.path().join("data/helpline.db");
        let out = Command::new("python3")
            .args(["-c", script, db.to_str().unwrap(), sql])
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Changes rows, while the daemon is down.
    pub(crate) fn execute(&self, sql: &str) {
        let script = "import sqlite3,sys\n\
            c=sqlite3.connect(sys.argv[1])\n\
            c.execute(sys.argv[2])\n\
            c.commit()";
        let db = self.dir.path().join("data/helpline.db");
        let status = Command::new("python3")
            .args(["-c", script, db.to_str().unwrap(), sql])
            .status();
        assert!(status.unwrap().success(), "{sql}");
    }

    /// Waits until `sql` gives a row whose first column is `want`.
    pub(crate) fn wait_row(&self, sql: &str, want: &str, limit: Duration) {
        let end = Instant::now() + limit;
        let mut last = Vec::new();
        while Instant::now() < end {
            last = self.rows(sql);
            if last.first().is_some_and(|row| row[0] == want) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!(
            "{sql}: {last:?}, wanted {want:?} within {limit:?}\n{}",
            self.log()
        );
    }

    /// Bytes of every mail sent so far.
    pub(crate) fn mails(&self) -> Vec<String> {
        let Ok(dir) = fs::read_dir(self.dir.path().join("mail")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = dir
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "eml"))
            .collect();
        files.sort();
        files
            .iter()
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
            .collect()
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Header block.
    pub(crate) head: String,
    /// Body.
    pub(crate) body: String,
}

/// One HTTP/1.1 request on a connection of its own.
pub(crate) fn http(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
