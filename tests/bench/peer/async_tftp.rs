//! The library peer of the TFTP part as a program, with the settings that make it bearable for firmware:
//!
//!     async-tftp FOLDER ADDRESS:PORT

use std::time::Duration;

use anyhow::Context as _;
use async_tftp::server::TftpServerBuilder;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("the folder to serve")?;
    let address = arguments.next().context("the address and port to listen on")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let server = TftpServerBuilder::with_dir_ro(folder)?
            .bind(address.parse()?)
            .block_size_limit(1468)
            .window_size_limit(16)
            .max_send_retries(5)
            .timeout(Duration::from_secs(1))
            .ignore_client_timeout()
            .build()
            .await?;
        Ok(server.serve().await?)
    })
}
