//! The library peer as a program, with the settings that make it bearable for firmware.

use std::time::Duration;

use async_tftp::server::TftpServerBuilder;

pub fn serve(folder: &str, address: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
