//! The task that owns the launcher's process: orders in, replies out, restart at next use.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use cardhost_wire::{
    custody::{KeptReply, KeptRequest},
    launch::{Isolation, Reply, Request, Start},
    layers::Layer,
    wrapping::{KeyReply, KeyRequest},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    CardStart, Config, Ending, Instance, LauncherError, Order, Started, layers,
    process::{Process, Program},
};

/// After a failed start of the launcher, starts fail at once for this long.
const PAUSE: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<Started, LauncherError>>;
type KeyAnswer = oneshot::Sender<Result<KeyReply, LauncherError>>;
type KeptAnswer = oneshot::Sender<Result<KeptReply, LauncherError>>;

/// Runs until every handle of the launcher is gone.
pub(super) async fn supervise(
    program: Program,
    orders: mpsc::WeakSender<Order>,
    mut waiting: mpsc::Receiver<Order>,
) {
    let mut supervisor = Supervisor { program, orders, state: State::Absent, last: 0 };
    loop {
        match &mut supervisor.state {
            State::Serving(serving) => tokio::select! {
                order = waiting.recv() => match order {
                    Some(order) => supervisor.take(order).await,
                    None => return,
                },
                reply = serving.process.receive() => supervisor.heard(reply),
            },
            State::Absent | State::Failed(..) => match waiting.recv().await {
                Some(order) => supervisor.take(order).await,
                None => return,
            },
        }
    }
}

enum State {
    Absent,
    Failed(LauncherError, Instant),
    Serving(Box<Serving>),
}

struct Serving {
    process: Process,
    layers: Arc<[Layer]>,
    starting: HashMap<u64, Answer>,
    running: HashMap<u64, oneshot::Sender<Ending>>,
    /// Who waits for answers about keys; they come in the order of the requests.
    keys: VecDeque<KeyAnswer>,
    /// The same for what the TPM keeps.
    kept: VecDeque<KeptAnswer>,
}

struct Supervisor {
    program: Program,
    orders: mpsc::WeakSender<Order>,
    state: State,
    last: u64,
}

impl Supervisor {
    async fn take(&mut self, order: Order) {
        match order {
            Order::Ready(answer) => {
                drop(answer.send(self.serving().await.map(|serving| serving.layers.clone())));
            }
            Order::Start(start, answer) => self.start(start, answer).await,
            Order::Keys(request, answer) => self.keys(request, answer).await,
            Order::Kept(request, answer) => self.kept(request, answer).await,
            Order::Kill(instance) => self.kill(instance).await,
            Order::End(answer) => drop(answer.send(self.end().await)),
        }
    }

    async fn end(&mut self) -> Result<(), LauncherError> {
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Serving(serving) => serving.process.end().await,
            State::Absent | State::Failed(..) => Ok(()),
        }
    }

    /// The running launcher, started if there is none.
    async fn serving(&mut self) -> Result<&mut Serving, LauncherError> {
        if let State::Failed(error, since) = &self.state
            && since.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        if !matches!(self.state, State::Serving(_)) {
            self.state = match self.program.start().await {
                Ok((process, layers)) => State::serving(process, layers, &self.program.config),
                Err(error) => State::failed(error),
            };
        }
        match &mut self.state {
            State::Serving(serving) => Ok(serving),
            State::Failed(error, _) => Err(error.clone()),
            State::Absent => Err(LauncherError::Died),
        }
    }

    async fn start(&mut self, start: CardStart, answer: Answer) {
        self.last += 1;
        let instance = self.last;
        let request = Request::Start(Start {
            instance,
            card: start.card,
            owner: start.owner,
            wrapped_key: start.wrapped_key,
            image: start.image,
            adopt: start.adopt,
            default_keys: self.program.config.default_keys,
        });
        let note = |serving: &mut Serving, answer| drop(serving.starting.insert(instance, answer));
        self.ask(&request, answer, note).await;
    }

    async fn keys(&mut self, request: KeyRequest, answer: KeyAnswer) {
        let note = |serving: &mut Serving, answer| serving.keys.push_back(answer);
        self.ask(&Request::Keys(request), answer, note).await;
    }

    async fn kept(&mut self, request: KeptRequest, answer: KeptAnswer) {
        let note = |serving: &mut Serving, answer| serving.kept.push_back(answer);
        self.ask(&Request::Kept(request), answer, note).await;
    }

    /// Sends a request; `note` remembers who waits for the reply.
    async fn ask<T>(
        &mut self,
        request: &Request,
        answer: oneshot::Sender<Result<T, LauncherError>>,
        note: impl FnOnce(&mut Serving, oneshot::Sender<Result<T, LauncherError>>),
    ) {
        match self.serving().await {
            Ok(serving) => {
                note(serving, answer);
                let sent = serving.process.send(request).await;
                self.check(sent);
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    async fn kill(&mut self, instance: u64) {
        let State::Serving(serving) = &mut self.state else { return };
        if serving.running.contains_key(&instance) {
            let sent = serving.process.send(&Request::Kill { instance }).await;
            self.check(sent);
        }
    }

    fn heard(&mut self, reply: Result<(Reply, Option<OwnedFd>), LauncherError>) {
        let State::Serving(serving) = &mut self.state else { return };
        let understood = match reply {
            Ok((Reply::Started { instance, pid, wrapped_key }, link)) => {
                let orders = self.orders.upgrade().ok_or(LauncherError::Closed);
                orders.and_then(|orders| serving.started(instance, pid, wrapped_key, link, orders))
            }
            Ok((Reply::Refused { instance, reason }, _)) => {
                serving.answer(instance, Err(LauncherError::Refused(reason)))
            }
            Ok((Reply::Exited { instance, code, signal }, _)) => serving.exited(instance, code, signal),
            Ok((Reply::Keys(reply), _)) => answered(&mut serving.keys, reply),
            Ok((Reply::Kept(reply), _)) => answered(&mut serving.kept, reply),
            Ok((Reply::Unusable(why), _)) => Err(LauncherError::Unusable(why)),
            Ok((Reply::Ready { .. }, _)) => Err(LauncherError::Protocol),
            Err(error) => Err(error),
        };
        self.check(understood);
    }

    /// An error ends the launcher: dropped, its process is killed, starts fail and instances see their end.
    fn check(&mut self, result: Result<(), LauncherError>) {
        let Err(error) = result else { return };
        tracing::error!(%error, "the launcher is gone, and every card with it");
        metrics::counter!("cardhost_launcher_deaths_total").increment(1);
        self.state = State::Absent;
    }
}

impl State {
    fn serving(process: Process, layers: Vec<Layer>, config: &Config) -> Self {
        let isolation = config.isolation;
        tracing::info!(pid = process.pid(), isolation = isolation.name(), "the launcher accepts starts");
        if isolation == Isolation::Process {
            tracing::warn!("cards are processes, not microVMs: only the host's kernel keeps them in");
        }
        layers::tell(&layers, config.control_group.is_some());
        let (starting, running, keys, kept) = Default::default();
        let layers = layers.into();
        Self::Serving(Box::new(Serving { process, layers, starting, running, keys, kept }))
    }

    fn failed(error: LauncherError) -> Self {
        tracing::error!(%error, "the launcher does not serve");
        Self::Failed(error, Instant::now())
    }
}

/// Gives a reply to whoever waits longest for one of its kind.
fn answered<T>(
    waiting: &mut VecDeque<oneshot::Sender<Result<T, LauncherError>>>,
    reply: T,
) -> Result<(), LauncherError> {
    let answer = waiting.pop_front().ok_or(LauncherError::Protocol)?;
    drop(answer.send(Ok(reply)));
    Ok(())
}

impl Serving {
    fn started(
        &mut self,
        number: u64,
        pid: u32,
        wrapped_key: Vec<u8>,
        link: Option<OwnedFd>,
        orders: mpsc::Sender<Order>,
    ) -> Result<(), LauncherError> {
        let (ending, ended) = oneshot::channel();
        self.running.insert(number, ending);
        let instance = Instance { number, pid, wrapped_key, ended, orders };
        // The kernel leaves a descriptor out for which the daemon has no room.
        let started = link.map(|link| Started { instance, link }).ok_or(LauncherError::NoLink);
        // If nobody waits any more the instance is dropped here, which kills it.
        self.answer(number, started)
    }

    fn answer(&mut self, number: u64, result: Result<Started, LauncherError>) -> Result<(), LauncherError> {
        let answer = self.starting.remove(&number).ok_or(LauncherError::Protocol)?;
        drop(answer.send(result));
        Ok(())
    }

    fn exited(&mut self, number: u64, code: Option<i32>, signal: Option<i32>) -> Result<(), LauncherError> {
        let ending = self.running.remove(&number).ok_or(LauncherError::Protocol)?;
        let how = match (code, signal) {
            (_, Some(signal)) => Ending::Signal(signal),
            (code, None) => Ending::Exit(code.unwrap_or_default()),
        };
        // Nobody may wait for it any more.
        let _ = ending.send(how);
        Ok(())
    }
}
