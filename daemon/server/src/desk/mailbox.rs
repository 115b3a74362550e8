//! Mail that is fetched from mailboxes.

use std::sync::Arc;

use helpline_core::id::MailInId;
use helpline_core::oauth::Tokens;
use helpline_core::time::Wall;

use super::{Desk, SpoolError, StoreError};
use crate::store::{Aside, Fetched, Folder, mailbox};

/// A message of a mailbox.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number in the folder.
    pub uid: u32,
    /// When it came there.
    pub received_at: Option<Wall>,
    /// The message, or its headers if it is too large.
    pub raw: Vec<u8>,
    /// Larger than is taken: set aside for people.
    pub is_too_large: bool,
}

impl Desk {
    /// Takes a mailbox, or keeps it; false while another node has it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn watch_mailbox(&self, name: &str) -> Result<bool, StoreError> {
        let (name, node) = (name.to_owned(), self.node());
        let watched = self.store.write(move |tx| {
            let (name, node) = (name.clone(), node.clone());
            Box::pin(async move { mailbox::watch(tx, &name, &node).await })
        });
        watched.await
    }

    /// The tokens of a mailbox, if they were got with what `client` is the hash of.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn mailbox_tokens(
        &self,
        name: &str,
        client: &str,
    ) -> Result<Option<Tokens>, StoreError> {
        let (name, client) = (name.to_owned(), client.to_owned());
        let kept = self.store.read(move |tx| {
            let (name, client) = (name.clone(), client.clone());
            Box::pin(async move { mailbox::tokens(tx, &name, &client).await })
        });
        kept.await
    }

    /// Keeps both tokens of an answer in one transaction: the refresh token before may be worth
    /// nothing any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn keep_mailbox_tokens(
        &self,
        name: &str,
        client: &str,
        tokens: &Tokens,
    ) -> Result<(), StoreError> {
        let (name, client, tokens) = (name.to_owned(), client.to_owned(), tokens.clone());
        let kept = self.store.write(move |tx| {
            let (name, client, tokens) = (name.clone(), client.clone(), tokens.clone());
            Box::pin(async move { mailbox::keep_tokens(tx, &name, &client, &tokens).await })
        });
        kept.await
    }

    /// Numbers of a folder that are in the spool, from `first` on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn fetched(&self, folder: &Folder, first: u32) -> Result<Vec<u32>, StoreError> {
        let folder = folder.clone();
        let known = self.store.read(move |tx| {
            let folder = folder.clone();
            Box::pin(async move { mailbox::known(tx, &folder, first).await })
        });
        known.await
    }

    /// Spools messages in one transaction; a message that is there already is left as it is.
    ///
    /// # Errors
    /// [`SpoolError`]: none of them may be put aside.
    pub async fn spool_fetched(
        &self,
        folder: &Folder,
        messages: Vec<Message>,
    ) -> Result<(), SpoolError> {
        let bytes = messages.iter().map(|message| message.raw.len()).sum();
        if !self.has_spool_for(bytes).await? {
            return Err(SpoolError::Full);
        }
        let fetched = |message: Message| Fetched {
            id: self.new_id(MailInId::new),
            uid: message.uid,
            received_at: message.received_at,
            raw: message.raw,
            set_aside: message.is_too_large.then_some("too_large"),
        };
        let messages: Arc<[Fetched]> = messages.into_iter().map(fetched).collect();
        let folder = folder.clone();
        let spooled = self.store.write(move |tx| {
            let (folder, messages) = (folder.clone(), Arc::clone(&messages));
            Box::pin(async move { mailbox::spool(tx, &folder, &messages).await })
        });
        match spooled.await {
            Ok(()) => {
                self.mail_waiting.notify_waiters();
                self.mail_waiting.notify_one();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "fetched mail could not be spooled");
                Err(SpoolError::Unknown)
            }
        }
    }

    /// Numbers of a folder that are in the spool and not put aside, and where those go that
    /// are dealt with.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn open_in(&self, folder: &Folder) -> Result<Vec<(u32, Option<Aside>)>, StoreError> {
        let folder = folder.clone();
        let open = self.store.read(move |tx| {
            let folder = folder.clone();
            Box::pin(async move { mailbox::open(tx, &folder).await })
        });
        open.await
    }

    /// Notes that messages were put aside, or are not there any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: they will be put aside again.
    pub async fn put_aside(&self, folder: &Folder, uids: Vec<u32>) -> Result<(), StoreError> {
        let folder = folder.clone();
        let done = self.store.write(move |tx| {
            let (folder, uids) = (folder.clone(), uids.clone());
            Box::pin(async move { mailbox::closed(tx, &folder, &uids).await })
        });
        done.await
    }
}
