#![allow(warnings)]
#[path = "../tests/it/home.rs"]
mod home;
#[tokio::main]
async fn main() {
    let home = home::Home::start();
    let b = homing_bridge::Bridge::start(
        homing_bridge::BridgeConfig {
            listen: "127.0.0.1:18099".parse().unwrap(),
            ..Default::default()
        },
        home,
    )
    .unwrap();
    println!("{} {}", b.local_addr(), std::process::id());
    tokio::time::sleep(std::time::Duration::from_secs(900)).await;
}
