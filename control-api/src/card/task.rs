//! The task of a live card.

use std::time::Duration;

use cardhost_wire::{
    control::{Answer, CardId, Command, Commit, HostMessage, SessionState},
    link::{Kind, Report, Statistics},
    port::{Port, Protocol},
};
use rusqlite::Transaction;
use tokio::{
    sync::{mpsc, oneshot},
    time::{self, Instant},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    CardError, OPEN_TIMEOUT, Violation,
    adoption::Adopting,
    guest::{self, Guest, Request},
    link::{Frame, Link},
    ports::{Ports, Reply, Response},
};
use crate::{
    anchor::{Guard, StateDigest},
    store::{
        Store,
        cards::{self, CommitOutcome},
    },
};

/// How long a card that is ending may take to deliver its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// What may wait for a card's task.
pub(super) const MAILBOX: usize = 64;

/// What a card's task is asked.
pub(super) enum Mail {
    Command { command: Command, intent: Option<Uuid>, reply: Reply<Answer> },
    Open { protocol: Protocol, reply: Reply<()> },
    Exchange { protocol: Protocol, command: Zeroizing<Vec<u8>>, deadline: Instant, reply: Reply<Response> },
    Close { protocol: Protocol },
    Statistics { reply: oneshot::Sender<Statistics> },
    SessionState { reply: Reply<SessionState> },
}

/// Why a card's task ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// Its last credential is gone and the answer is delivered.
    #[error("its last credential is gone")]
    LastCredential,
    /// It was told to end; its terminal may notice.
    #[error("the host ended it")]
    Told,
    /// It was told to end when no terminal could notice.
    #[error("it is parked")]
    Parked,
    /// It stopped, misbehaved or took too long.
    #[error(transparent)]
    Failed(CardError),
}

/// What a card's task works on.
pub(super) struct Task {
    pub(super) card: CardId,
    pub(super) store: Store,
    pub(super) guard: Guard,
    /// Until its first commit, if another image wrote its state last.
    pub(super) adopting: Option<Adopting>,
    pub(super) link: Link,
    pub(super) guest: Guest,
    pub(super) ports: Ports,
    pub(super) statistics: Vec<oneshot::Sender<Statistics>>,
    pub(super) ending: Option<Instant>,
}

impl Task {
    /// Serves the card until it ends or `stop` fires.
    pub(super) async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Mail>,
        mut stop: oneshot::Receiver<End>,
    ) -> End {
        loop {
            if self.is_done() {
                return End::LastCredential;
            }
            let deadline = self.deadline();
            let step = tokio::select! {
                frame = self.link.next() => match frame {
                    Ok(frame) => self.take(frame).await,
                    Err(error) => Err(error),
                },
                Some(mail) = mailbox.recv(), if self.link.has_room() => {
                    self.answer(mail);
                    Ok(())
                }
                () = time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.overdue()
                }
                end = &mut stop => return end.unwrap_or(End::Told),
            };
            if let Err(error) = step {
                return End::Failed(error);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ending.is_some() && !self.guest.is_busy() && !self.ports.are_busy()
    }

    fn deadline(&self) -> Option<Instant> {
        [self.guest.deadline(), self.ports.deadline(), self.ending].into_iter().flatten().min()
    }

    fn overdue(&mut self) -> Result<(), CardError> {
        self.guest.time_out();
        self.ports.time_out();
        Err(CardError::TimedOut)
    }

    fn answer(&mut self, mail: Mail) {
        match mail {
            Mail::Command { command, intent, reply } => {
                self.guest.ask(&mut self.link, Request { command, intent, reply });
            }
            Mail::Open { protocol, reply } => {
                let deadline = Instant::now() + OPEN_TIMEOUT;
                self.ports.open(&mut self.link, protocol, reply, deadline);
            }
            Mail::Exchange { reply, .. } if self.ending.is_some() => {
                drop(reply.send(Err(CardError::Absent)));
            }
            Mail::Exchange { protocol, command, deadline, reply } => {
                self.ports.exchange(&mut self.link, protocol, &command, reply, deadline);
            }
            Mail::SessionState { reply } if self.ports.are_busy() => {
                drop(reply.send(Err(CardError::Busy)));
            }
            Mail::SessionState { reply } => self.guest.ask_session_state(&mut self.link, reply),
            Mail::Close { protocol } => self.ports.close(&mut self.link, protocol),
            Mail::Statistics { reply } => {
                self.statistics.push(reply);
                self.link.signal(Kind::Query, 0);
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), CardError> {
        match (Port::from_number(frame.port), frame.kind) {
            (None, Kind::Report) => self.reported(&frame.payload),
            (Some(Port::Control), _) => self.control(frame).await,
            (Some(Port::Apdu(protocol)), _) => self.ports.take(protocol, frame),
            (None, _) => Err(CardError::Misbehaved(Violation::Unexpected)),
        }
    }

    async fn control(&mut self, frame: Frame) -> Result<(), CardError> {
        // Read before the frame is taken: the answer to the command may follow its commit in the same frame.
        let intent = self.guest.intent();
        for commit in self.guest.take(&mut self.link, &frame)? {
            self.commit(commit, intent).await?;
        }
        Ok(())
    }

    /// Makes a commit durable and says so; a store that fails is the host's fault and leaves the card alive.
    async fn commit(&mut self, commit: Commit, intent: Option<Uuid>) -> Result<(), CardError> {
        let (card, epoch, digest) = (self.card, commit.epoch, StateDigest::of(Some(&commit.head)));
        let anchor = self.guard.anchor().clone();
        let write = move |transaction: &Transaction<'_>| {
            anchor.remember(transaction)?;
            cards::commit(transaction, &card, &commit, intent)
        };
        let stored = match &self.adopting {
            None => self.store.write(write).await.map_err(CardError::from),
            Some(adopting) => adopting.settle(write).await,
        };
        match stored {
            Ok(CommitOutcome::Stored { last_credential_gone }) => {
                self.adopting = None;
                self.guard.committed(card, epoch, digest);
                guest::send(&mut self.link, &HostMessage::Committed(epoch));
                if last_credential_gone {
                    self.ending = Some(Instant::now() + LAST_ANSWERS);
                }
                Ok(())
            }
            Ok(refusal) => {
                tracing::error!(?refusal, epoch, "the guest's commit is refused");
                Err(CardError::Misbehaved(Violation::Commit))
            }
            Err(error) => {
                tracing::error!(%error, epoch, "a commit could not be stored");
                guest::send(&mut self.link, &HostMessage::CommitFailed(epoch));
                Ok(())
            }
        }
    }

    fn reported(&mut self, payload: &[u8]) -> Result<(), CardError> {
        let statistics = report(payload)?;
        for reply in self.statistics.drain(..) {
            // Who asked may have gone.
            let _ = reply.send(statistics);
        }
        Ok(())
    }
}

/// Reads a report; a crash is logged and ends the card.
pub(super) fn report(payload: &[u8]) -> Result<Statistics, CardError> {
    match Report::decode(payload) {
        Ok(Report::Statistics(statistics)) => Ok(statistics),
        Ok(Report::Crashed(crash)) => {
            let rip = format_args!("{:#x}", crash.rip);
            tracing::error!(cause = ?crash.cause, rip = %rip, symbol = ?crash.symbol, "the card crashed");
            metrics::counter!("cardhost_card_crashes_total").increment(1);
            Err(CardError::Stopped)
        }
        Err(_) => Err(CardError::Misbehaved(Violation::Malformed)),
    }
}
