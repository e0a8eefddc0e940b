//! The control stream's client: one command at a time, commits at any time ([`cardhost_wire::control`]).

use std::collections::VecDeque;

use cardhost_wire::{
    control::{Answer, Command, Commit, Failure, GuestMessage, HostMessage, SessionState},
    frame::FrameReader,
    link::Kind,
    port::Port,
};
use tokio::time::Instant;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    COMMAND_TIMEOUT, CardError, SESSION_STATE_TIMEOUT, Violation,
    link::{Frame, Link},
    ports::Reply,
};

/// Commands that may wait behind the one under way.
const MAX_WAITING: usize = 32;
/// Of a guest's text this much is logged.
const MAX_TEXT: usize = 300;

/// A command of the host, on its way.
pub(super) struct Request {
    pub(super) command: Command,
    /// The creation that asks, noted with the credentials that the command makes.
    pub(super) intent: Option<Uuid>,
    pub(super) reply: Reply<Answer>,
}

struct UnderWay {
    number: u32,
    intent: Option<Uuid>,
    reply: Reply<Answer>,
    deadline: Instant,
}

struct Question {
    reply: Reply<SessionState>,
    deadline: Instant,
}

/// The control stream after the start.
pub(super) struct Guest {
    reader: FrameReader,
    waiting: VecDeque<Request>,
    under_way: Option<UnderWay>,
    question: Option<Question>,
    last: u32,
}

impl Guest {
    /// The stream goes on where the start left it.
    pub(super) fn new(reader: FrameReader) -> Self {
        Self { reader, waiting: VecDeque::new(), under_way: None, question: None, last: 0 }
    }

    /// Sends a command, or queues it behind the one under way.
    pub(super) fn ask(&mut self, link: &mut Link, request: Request) {
        if self.waiting.len() >= MAX_WAITING {
            drop(request.reply.send(Err(CardError::Busy)));
            return;
        }
        self.waiting.push_back(request);
        self.send_next(link);
    }

    /// Asks for the sessions' state, unless an answer of any kind is due.
    pub(super) fn ask_session_state(&mut self, link: &mut Link, reply: Reply<SessionState>) {
        if self.is_busy() || self.question.is_some() {
            drop(reply.send(Err(CardError::Busy)));
            return;
        }
        send(link, &HostMessage::SessionState);
        self.question = Some(Question { reply, deadline: Instant::now() + SESSION_STATE_TIMEOUT });
    }

    /// Takes a frame of the control stream; gives the commit in it, if it is one.
    pub(super) fn take(&mut self, link: &mut Link, frame: &Frame) -> Result<Vec<Commit>, CardError> {
        match frame.kind {
            Kind::Data => self.reader.push(&frame.payload),
            Kind::Close => return Err(CardError::Misbehaved(Violation::StreamClosed)),
            _ => return Err(CardError::Misbehaved(Violation::Unexpected)),
        }
        let mut commits = Vec::new();
        while let Some(message) = next_message(&mut self.reader)? {
            match message {
                GuestMessage::Commit(commit) => commits.push(commit),
                GuestMessage::Answer(number, result) => self.answered(link, number, result)?,
                GuestMessage::SessionState(state) => self.told(state)?,
                GuestMessage::Panic(text) => return Err(panicked(&text)),
                GuestMessage::Started(_) | GuestMessage::Refused(_) => {
                    return Err(CardError::Misbehaved(Violation::Unexpected));
                }
            }
        }
        Ok(commits)
    }

    /// The creation whose command is under way.
    pub(super) fn intent(&self) -> Option<Uuid> {
        self.under_way.as_ref()?.intent
    }

    /// True while an answer is due.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// When the answer is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let command = self.under_way.as_ref().map(|command| command.deadline);
        let question = self.question.as_ref().map(|question| question.deadline);
        [command, question].into_iter().flatten().min()
    }

    /// Tells who waits that no answer came in time.
    pub(super) fn time_out(&mut self) {
        if let Some(command) = self.under_way.take() {
            drop(command.reply.send(Err(CardError::TimedOut)));
        }
        if let Some(question) = self.question.take() {
            drop(question.reply.send(Err(CardError::TimedOut)));
        }
    }

    fn told(&mut self, state: SessionState) -> Result<(), CardError> {
        let question = self.question.take().ok_or(CardError::Misbehaved(Violation::Unexpected))?;
        drop(question.reply.send(Ok(state)));
        Ok(())
    }

    fn answered(
        &mut self,
        link: &mut Link,
        number: u32,
        result: Result<Answer, Failure>,
    ) -> Result<(), CardError> {
        let due = self.under_way.take_if(|command| command.number == number);
        let command = due.ok_or(CardError::Misbehaved(Violation::Unexpected))?;
        drop(command.reply.send(result.map_err(CardError::Declined)));
        self.send_next(link);
        Ok(())
    }

    fn send_next(&mut self, link: &mut Link) {
        if self.under_way.is_some() {
            return;
        }
        let Some(Request { command, intent, reply }) = self.waiting.pop_front() else { return };
        self.last = self.last.wrapping_add(1);
        send(link, &HostMessage::Command(self.last, command));
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        self.under_way = Some(UnderWay { number: self.last, intent, reply, deadline });
    }
}

/// Queues a message on the control stream.
pub(super) fn send(link: &mut Link, message: &HostMessage) {
    let bytes = Zeroizing::new(message.encode());
    link.message(Port::Control.number(), &bytes);
}

/// The next whole message of the guest.
pub(super) fn next_message(reader: &mut FrameReader) -> Result<Option<GuestMessage>, CardError> {
    let malformed = CardError::Misbehaved(Violation::Malformed);
    let Ok(message) = reader.next_message() else { return Err(malformed) };
    let Some(message) = message.map(Zeroizing::new) else { return Ok(None) };
    GuestMessage::decode(&message).map(Some).map_err(|_| malformed)
}

/// Logs what a panicking guest alleges.
pub(super) fn panicked(text: &str) -> CardError {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    tracing::error!(alleged = ?text, "the guest says that it panicked");
    CardError::Stopped
}
