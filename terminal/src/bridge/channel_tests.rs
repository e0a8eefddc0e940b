use std::time::Duration;

use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

/// A channel and the host's end of it.
pub async fn pair() -> (Channel<DuplexStream>, WebSocketStream<DuplexStream>) {
    pair_with(PULSE).await
}

async fn pair_with(pulse: Pulse) -> (Channel<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (terminal, host) = tokio::io::duplex(256 * 1024);
    let terminal = WebSocketStream::from_raw_socket(terminal, Role::Client, Some(limits())).await;
    (Channel::over(terminal, pulse), WebSocketStream::from_raw_socket(host, Role::Server, None).await)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn presence_follows_the_hosts_events() {
    let (mut channel, mut host) = pair().await;
    host.send(Message::text(r#"{"event":"present","atr":"3b80"}"#)).await.unwrap();
    channel.next_event().await.unwrap();
    assert_eq!(*channel.presence(), Presence::Present { atr: vec![0x3B, 0x80] });
    host.send(Message::text(r#"{"event":"absent","reason":"no card"}"#)).await.unwrap();
    channel.next_event().await.unwrap();
    assert_eq!(*channel.presence(), Presence::Absent { reason: "no card".into() });
}

#[tokio::test]
async fn operations_have_their_names() {
    let (mut channel, mut host) = pair().await;
    let operations = [Operation::PowerOn, Operation::PowerOff, Operation::Reset];
    for (operation, name) in operations.into_iter().zip(["power-on", "power-off", "reset"]) {
        channel.operate(operation).await.unwrap();
        let expected = Message::text(format!(r#"{{"op":"{name}"}}"#));
        assert_eq!(host.next().await.unwrap().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_card_that_goes_during_a_command_answers_6f00() {
    let (mut channel, mut host) = pair().await;
    host.send(Message::text(r#"{"event":"present","atr":"3b80"}"#)).await.unwrap();
    channel.next_event().await.unwrap();
    host.send(Message::text(r#"{"event":"absent"}"#)).await.unwrap();
    assert_eq!(channel.transmit(&[0, 0xA4, 4, 0], SECOND * 60).await.unwrap(), [0x6F, 0x00]);
}

#[tokio::test]
async fn a_silent_host_ends_the_exchange_and_the_channel() {
    let millisecond = Duration::from_millis(1);
    let (mut channel, _host) = pair_with(Pulse { every: millisecond, silence: 20 * millisecond }).await;
    assert!(matches!(channel.transmit(&[0, 0xA4, 4, 0], millisecond).await, Err(ChannelError::Silent)));
    assert!(matches!(channel.next_event().await, Err(ChannelError::Silent)));
}

#[tokio::test]
async fn what_the_channel_does_not_have_is_refused() {
    for message in [
        Message::text("{}"),
        Message::text(r#"{"event":"present","atr":"3b"}"#),
        Message::text(r#"{"event":"present","atr":"zz"}"#),
        Message::binary(vec![0x90, 0]),
    ] {
        let (mut channel, mut host) = pair().await;
        host.send(message).await.unwrap();
        assert!(matches!(channel.next_event().await, Err(ChannelError::Malformed)));
    }
    let (mut channel, mut host) = pair().await;
    host.send(Message::binary(vec![0; apdu::MAX_RESPONSE + 1])).await.unwrap();
    assert!(matches!(channel.transmit(&[0; 4], SECOND * 60).await, Err(ChannelError::Broken(_))));
}
