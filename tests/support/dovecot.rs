//! A real Dovecot on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::certificates::make_certificates;
use super::phone::wait_bound;
use super::process::{Program, free_port};

/// A Dovecot with mailboxes for any user whose password is `secret`.
pub(crate) struct Dovecot {
    program: Program,
    /// Its folder.
    pub(crate) folder: tempfile::TempDir,
    /// Port without TLS.
    pub(crate) imap: u16,
    imaps: u16,
}

impl Dovecot {
    /// `without`: capabilities that it does not have.
    pub(crate) fn start(without: &[&str]) -> Dovecot {
        let all = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE NAMESPACE UIDPLUS MOVE";
        let has: Vec<&str> = all
            .split(' ')
            .filter(|word| !without.contains(word))
            .collect();
        Dovecot::start_with(|_| match without {
            [] => String::new(),
            _ => format!("imap_capability = {}\n", has.join(" ")),
        })
    }

    /// One that takes, besides passwords, tokens that `port` on loopback vouches for (RFC 7662).
    pub(crate) fn start_with_tokens(port: u16) -> Dovecot {
        Dovecot::start_with(|at| {
            let check = at.join("oauth2.conf");
            let text = format!(
                "introspection_mode = post\nintrospection_url = http://127.0.0.1:{port}/introspect\n\
                 username_attribute = username\nactive_attribute = active\nactive_value = true\n"
            );
            fs::write(&check, text).unwrap();
            format!(
                "auth_mechanisms = plain login xoauth2\n\
                 passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {}\n}}\n",
                check.display()
            )
        })
    }

    fn start_with(more: impl FnOnce(&Path) -> String) -> Dovecot {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_owned();
        // Its processes run as other users than the test.
        open_to_all(&at, 0o755);
        make_certificates(&at);
        let (imap, imaps) = (free_port(), free_port());
        let (uid, gid) = reader();
        fs::create_dir(at.join("mail")).unwrap();
        open_to_all(&at.join("mail"), 0o777);
        let text = format!(
            "protocols = imap\nlisten = 127.0.0.1\nbase_dir = {at}/run\nstate_dir = {at}/state\n\
             log_path = {at}/dovecot.log\nssl = yes\nssl_cert = <{at}/cert.pem\nssl_key = <{at}/key.pem\n\
             disable_plaintext_auth = no\nmail_location = maildir:{at}/mail/%u\nfirst_valid_uid = 0\n\
             first_valid_gid = 0\n{internal}{more}\
             passdb {{\n driver = static\n args = password=secret\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={at}/mail/%u\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n  port = {imap}\n }}\n inet_listener imaps {{\n  port = {imaps}\n }}\n}}\n\
             service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n",
            at = at.display(),
            internal = internal_users(),
            more = more(&at),
        );
        let config = at.join("dovecot.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(config);
        let program = Program::start(command, &at.join("out"));
        wait_bound(imap);
        Dovecot {
            program,
            folder,
            imap,
            imaps,
        }
    }

    /// To it and to every process that it started: each connection has one of its own.
    pub(crate) fn signal(&self, signal: Signal) {
        let parent = self.program.id().to_string();
        let children = Command::new("pgrep")
            .args(["-P", &parent])
            .output()
            .unwrap();
        for child in String::from_utf8(children.stdout).unwrap().lines() {
            let pid = nix::unistd::Pid::from_raw(child.parse().unwrap());
            // One may have ended meanwhile.
            let _ = nix::sys::signal::kill(pid, signal);
        }
        self.program.signal(signal);
    }

    pub(crate) fn maildir(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user)
    }

    /// Puts a message into the inbox of a user, as a delivery does.
    pub(crate) fn deliver(&self, user: &str, name: &str, message: &str) {
        let inbox = self.maildir(user);
        for part in ["tmp", "new", "cur"] {
            let part = inbox.join(part);
            if fs::create_dir_all(&part).is_ok() {
                // It may be Dovecot's own already.
                let _ = fs::set_permissions(&part, fs::Permissions::from_mode(0o777));
            }
        }
        let _ = fs::set_permissions(&inbox, fs::Permissions::from_mode(0o777));
        let tmp = inbox.join("tmp").join(name);
        fs::write(&tmp, message).unwrap();
        open_to_all(&tmp, 0o666);
        fs::rename(&tmp, inbox.join("new").join(name)).unwrap();
    }

    /// Messages in a folder; "" is the inbox.
    pub(crate) fn count(&self, user: &str, folder: &str) -> usize {
        let at = match folder {
            "" => self.maildir(user),
            _ => self.maildir(user).join(format!(".{folder}")),
        };
        let files = ["new", "cur"].map(|part| fs::read_dir(at.join(part)));
        files.into_iter().flatten().map(Iterator::count).sum()
    }

    pub(crate) fn config(&self, name: &str, user: &str, tls: bool) -> String {
        let at = self.folder.path();
        fs::write(at.join("password"), "secret\n").unwrap();
        let (port, way) = match tls {
            true => (self.imaps, format!("ca_file = \"{}/ca.pem\"", at.display())),
            false => (self.imap, "tls = \"none\"".to_owned()),
        };
        format!(
            "[[mail.imap]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\n{way}\nuser = \"{user}\"\n\
             password_file = \"{}/password\"\npoll = \"1s\"\n",
            at.display()
        )
    }
}

/// What `id` says with this option.
fn id(option: &str) -> String {
    let out = Command::new("id").arg(option).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Who reads the mail: never root, which Dovecot refuses.
fn reader() -> (String, String) {
    match id("-u").as_str() {
        "0" => ("65534".into(), "65534".into()),
        _ => (id("-u"), id("-g")),
    }
}

/// As another user than root Dovecot cannot become any other.
fn internal_users() -> String {
    match id("-u").as_str() {
        "0" => String::new(),
        _ => {
            let (user, group) = (id("-un"), id("-gn"));
            format!(
                "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n"
            )
        }
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
