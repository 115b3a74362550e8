//! What the operator is told by mail, for whom nobody else watches the metrics.

use data_encoding::HEXLOWER;
use helpline_core::time::Wall;
use sha2::{Digest as _, Sha256};

use super::letter::Letters;
use super::{AckTo, Desk, StoreError};
use crate::store::outbox::{AlarmFacts, MailBody};
use crate::store::{NewOutbox, alarm, outbox};

/// Before the name of a mailbox in a cause.
const MAILBOX: &str = "mailbox:";
/// Longest detail that is told.
const DETAIL_CHARS_MAX: usize = 300;
const DAY_MILLIS: i64 = 86_400_000;

impl Desk {
    /// Notes that a mailbox is out of order, and why.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn note_mailbox(&self, name: &str, why: &str) -> Result<(), StoreError> {
        let cause = format!("{MAILBOX}{name}");
        let why: String = why.chars().take(DETAIL_CHARS_MAX).collect();
        let noted = self.store.write(move |tx| {
            let (cause, why) = (cause.clone(), why.clone());
            Box::pin(async move { alarm::note(tx, &cause, Some(&why)).await })
        });
        noted.await
    }

    /// Writes a mail to `mail.operator` about each cause that is due; how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn tell_operator(&self) -> Result<usize, StoreError> {
        let Some(address) = self.config.mail.operator.clone() else {
            return Ok(0);
        };
        // Mostly nothing is, and then nothing is written.
        if !self
            .store
            .read(|tx| Box::pin(alarm::is_any_due(tx)))
            .await?
        {
            return Ok(0);
        }
        let letters = self.letters("");
        let language = self.config.site.language.clone();
        let told = self.store.write(move |tx| {
            let (address, language) = (address.clone(), language.clone());
            let letters = letters.clone();
            Box::pin(async move {
                let (now, due) = (tx.now().await?, alarm::due(tx).await?);
                for due in &due {
                    let row = row(&letters, &address, &language, due, now);
                    outbox::insert(tx, &row).await?;
                }
                Ok(due)
            })
        });
        let told = told.await?;
        for alarm::Due { cause, detail } in &told {
            tracing::error!(cause, detail, "the operator is told by mail");
        }
        Ok(told.len())
    }
}

fn row(letters: &Letters, address: &str, language: &str, due: &alarm::Due, now: Wall) -> NewOutbox {
    let mailbox = due.cause.strip_prefix(MAILBOX);
    let body = MailBody {
        reason: Some(mailbox.map_or(due.cause.as_str(), |_| "mailbox").to_owned()),
        made_at: Some(now),
        alarm: Some(AlarmFacts {
            mailbox: mailbox.map(str::to_owned),
            detail: due.detail.clone(),
        }),
        ..MailBody::default()
    };
    let to = AckTo {
        address: address.to_owned(),
        ..AckTo::default()
    };
    // A name of the configuration may hold what no Message-ID can.
    let hash = HEXLOWER.encode(&Sha256::digest(&due.cause));
    let about = format!("alarm-{}", hash.get(..16).unwrap_or_default());
    let day = u32::try_from(now.millis() / DAY_MILLIS).unwrap_or(0);
    letters.row(about, "alarm", day, to, body, language)
}
