//! Gossip as it is on the wire, written by hand (libp2p specs, pubsub): for peers that break its rules.

use std::time::Duration;

use futures::StreamExt as _;
use homing_net::TopicName;
use libp2p::{Stream, StreamProtocol};
use libp2p_stream::OpenStreamError;
use tokio::sync::mpsc;

use super::raw::{Raw, send};
use super::soon;

pub(crate) const MESHSUB: &str = "/meshsub/1.1.0";

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Rpc {
    #[prost(message, repeated, tag = "1")]
    pub(crate) subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) publish: Vec<Message>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Subscription {
    #[prost(bool, optional, tag = "1")]
    pub(crate) subscribe: Option<bool>,
    #[prost(string, optional, tag = "2")]
    pub(crate) topic: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(crate) from: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) data: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) seqno: Option<Vec<u8>>,
    #[prost(string, tag = "4")]
    pub(crate) topic: String,
}

pub(crate) fn message(topic: TopicName, data: impl Into<Vec<u8>>) -> Message {
    Message { data: Some(data.into()), topic: topic.to_string(), ..Message::default() }
}

pub(crate) fn says(messages: impl IntoIterator<Item = Message>) -> Rpc {
    Rpc { publish: messages.into_iter().collect(), subscriptions: Vec::new() }
}

pub(crate) fn joins(topics: impl IntoIterator<Item = TopicName>) -> Rpc {
    let one =
        |topic: TopicName| Subscription { subscribe: Some(true), topic: Some(topic.to_string()) };
    Rpc { subscriptions: topics.into_iter().map(one).collect(), publish: Vec::new() }
}

/// Whether the other side takes a gossip stream.
pub(crate) async fn try_open(raw: &mut Raw) -> Result<Stream, OpenStreamError> {
    soon(raw.control.open_stream(raw.peer, StreamProtocol::new(MESHSUB))).await
}

/// A gossip stream to a home that has just admitted us: it opens its door a moment after it has said so.
pub(crate) async fn open(raw: &mut Raw) -> Stream {
    soon(async {
        loop {
            match try_open(raw).await {
                Ok(stream) => return stream,
                Err(OpenStreamError::UnsupportedProtocol(_)) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

/// Takes every gossip stream from now on, and reads none of them.
pub(crate) fn accept(raw: &mut Raw) -> mpsc::UnboundedReceiver<Stream> {
    let mut streams = raw.accept(MESHSUB);
    let (taken, all) = mpsc::unbounded_channel();
    // libp2p-stream drops a stream for which nobody waits at that moment.
    tokio::spawn(async move {
        while let Some((_, stream)) = streams.next().await {
            if taken.send(stream).is_err() {
                return;
            }
        }
    });
    all
}

/// Says each of them in a frame of its own.
pub(crate) async fn say_all(stream: &mut Stream, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        send(stream, &says([message])).await;
    }
}
