//! A peer made of plain libp2p, which says and does what a test tells it: no part of it is ours.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use homing_net::{Admission as _, NodeKey};
use homing_wire::proto::hello::v1::HelloReply;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, noise, tcp, yamux};
use libp2p_stream::IncomingStreams;
use prost::Message;

use super::{Identity, soon};

pub(crate) struct Raw {
    pub(crate) control: libp2p_stream::Control,
    pub(crate) peer: PeerId,
    /// Ends the peer when dropped.
    _work: tokio::task::JoinSet<()>,
}

impl Raw {
    /// Connects over TCP and says nothing.
    pub(crate) async fn connect(key: &NodeKey, address: &str) -> Self {
        let pair = Keypair::from_protobuf_encoding(&key.to_protobuf().unwrap()).unwrap();
        let mut swarm: Swarm<libp2p_stream::Behaviour> =
            libp2p::SwarmBuilder::with_existing_identity(pair)
                .with_tokio()
                .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
                .unwrap()
                .with_behaviour(|_| libp2p_stream::Behaviour::new())
                .unwrap()
                .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
                .build();
        let control = swarm.behaviour().new_control();
        swarm.dial(address.parse::<Multiaddr>().unwrap()).unwrap();
        let peer = soon(async {
            loop {
                let event = swarm.select_next_some().await;
                if let libp2p::swarm::SwarmEvent::ConnectionEstablished { peer_id, .. } = event {
                    return peer_id;
                }
            }
        })
        .await;
        let mut work = tokio::task::JoinSet::new();
        work.spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { control, peer, _work: work }
    }

    pub(crate) async fn open(&mut self, protocol: &'static str) -> Stream {
        let opening = self.control.open_stream(self.peer, StreamProtocol::new(protocol));
        soon(opening).await.unwrap()
    }

    /// Takes streams that the other side opens from now on.
    pub(crate) fn accept(&mut self, protocol: &'static str) -> IncomingStreams {
        self.control.accept(StreamProtocol::new(protocol)).unwrap()
    }

    /// A hello as it should be.
    pub(crate) async fn hello(&mut self, identity: &Identity) {
        let policy = Arc::clone(&identity.policy);
        let mut stream = self.open(homing_wire::frame::HELLO).await;
        send(&mut stream, &policy.own_hello()).await;
        let reply: HelloReply = receive(&mut stream).await.expect("a reply");
        assert_eq!(reply.refusal, None);
        assert!(reply.hello.is_some());
        send(&mut stream, &HelloReply { hello: None, refusal: None }).await;
        stream.close().await.unwrap();
    }
}

pub(crate) async fn send(stream: &mut Stream, message: &impl Message) {
    stream.write_all(&message.encode_length_delimited_to_vec()).await.unwrap();
    stream.flush().await.unwrap();
}

/// One message, or nothing if the stream ends first.
pub(crate) async fn receive<M: Message + Default>(stream: &mut Stream) -> Option<M> {
    soon(async {
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.ok()?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.ok()?;
        Some(M::decode(&bytes[..]).unwrap())
    })
    .await
}
