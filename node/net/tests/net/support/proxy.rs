//! A TCP proxy whose connections can be cut without being closed, as a broken network does it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) address: String,
    cut: watch::Sender<u64>,
}

impl Proxy {
    /// Forwards to a `/ip4/…/tcp/PORT` address.
    pub(crate) async fn to(target: &str) -> Self {
        let port: u16 = target.rsplit('/').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
        let (cut, is_cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(forward(near_read, far_write, is_cut.clone()));
                tokio::spawn(forward(far_read, near_write, is_cut.clone()));
            }
        });
        Self { address, cut }
    }

    /// From now on nothing passes on the connections that exist; new ones work.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<u64>) {
    cut.mark_unchanged();
    let mut buffer = vec![0; 16 * 1_024];
    loop {
        tokio::select! {
            biased;
            changed = cut.changed() => {
                if changed.is_ok() {
                    // Both sockets stay open and silent until the test ends.
                    std::future::pending::<()>().await;
                }
                return;
            }
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => if to.write_all(&buffer[..length]).await.is_err() { return },
            },
        }
    }
}
