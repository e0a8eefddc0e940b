use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{super::channel::tests::pair, *};

const PRESENT: &str = r#"{"event":"present","atr":"3b80"}"#;
const ABSENT: &str = r#"{"event":"absent","reason":"the last certificate was deleted"}"#;

struct Setup {
    host: WebSocketStream<DuplexStream>,
    vpcd: TcpListener,
    reader: JoinHandle<ChannelError>,
}

/// A reader between a host and a vpcd that the test plays.
async fn set_up() -> Setup {
    let (channel, host) = pair().await;
    let vpcd = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = Reader {
        protocol: Protocol::ApduGate,
        vpcd: vpcd.local_addr().unwrap(),
        deadline: Duration::from_millis(200),
        output: Output::new(true),
        pairer: None,
    };
    let reader = tokio::spawn(async move {
        let Err(error) = reader.follow(Line::new(channel, reader.deadline, None)).await;
        error
    });
    Setup { host, vpcd, reader }
}

async fn send(slot: &mut TcpStream, payload: &[u8]) {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    slot.write_all(&[&length[..], payload].concat()).await.unwrap();
}

async fn receive(slot: &mut TcpStream) -> Vec<u8> {
    let length = slot.read_u16().await.unwrap();
    let mut payload = vec![0; length.into()];
    slot.read_exact(&mut payload).await.unwrap();
    payload
}

#[tokio::test]
async fn a_card_answers_polls_locally_and_commands_remotely_and_leaves() {
    let mut setup = set_up().await;
    setup.host.send(Message::text(PRESENT)).await.unwrap();
    let (mut slot, _) = setup.vpcd.accept().await.unwrap();
    send(&mut slot, &[4]).await;
    assert_eq!(receive(&mut slot).await, [0x3B, 0x80]);
    send(&mut slot, &[1]).await;
    assert_eq!(setup.host.next().await.unwrap().unwrap(), Message::text(r#"{"op":"power-on"}"#));
    send(&mut slot, &[0, 0xA4, 4, 0]).await;
    assert_eq!(setup.host.next().await.unwrap().unwrap(), Message::binary(vec![0, 0xA4, 4, 0]));
    setup.host.send(Message::binary(vec![0x90, 0])).await.unwrap();
    assert_eq!(receive(&mut slot).await, [0x90, 0x00]);
    setup.host.send(Message::text(ABSENT)).await.unwrap();
    assert_eq!(slot.read(&mut [0]).await.unwrap(), 0, "the card is taken out");
    setup.host.send(Message::text(PRESENT)).await.unwrap();
    setup.vpcd.accept().await.unwrap();
}

#[tokio::test]
async fn a_restarted_vpcd_gets_the_card_again_after_power_off() {
    let mut setup = set_up().await;
    setup.host.send(Message::text(PRESENT)).await.unwrap();
    drop(setup.vpcd.accept().await.unwrap());
    assert_eq!(setup.host.next().await.unwrap().unwrap(), Message::text(r#"{"op":"power-off"}"#));
    let (mut slot, _) = setup.vpcd.accept().await.unwrap();
    send(&mut slot, &[4]).await;
    assert_eq!(receive(&mut slot).await, [0x3B, 0x80]);
}

#[tokio::test]
async fn a_late_host_means_6f00_and_a_new_channel() {
    let mut setup = set_up().await;
    setup.host.send(Message::text(PRESENT)).await.unwrap();
    let (mut slot, _) = setup.vpcd.accept().await.unwrap();
    send(&mut slot, &[0, 0xA4, 4, 0]).await;
    assert_eq!(receive(&mut slot).await, [0x6F, 0x00]);
    assert!(matches!(setup.reader.await.unwrap(), ChannelError::Silent));
    assert_eq!(slot.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_answer_that_is_none_becomes_6f00() {
    let mut setup = set_up().await;
    setup.host.send(Message::text(PRESENT)).await.unwrap();
    let (mut slot, _) = setup.vpcd.accept().await.unwrap();
    send(&mut slot, &[0, 0xA4, 4, 0]).await;
    setup.host.next().await.unwrap().unwrap();
    setup.host.send(Message::binary(vec![0x90])).await.unwrap();
    assert_eq!(receive(&mut slot).await, [0x6F, 0x00]);
}
