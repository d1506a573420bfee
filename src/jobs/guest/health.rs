//! Whether an app answers: looked at from the appliance until it does, or until its time is over.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Working;
use super::provision;
use crate::domain::app::{HealthCheck, HealthKind};
use crate::jobs::runner::StepFailure;
use crate::outbound;

/// One look at a port or page.
const LOOK: Duration = Duration::from_secs(10);

/// Looks again and again until the check succeeds; returns one sentence.
///
/// # Errors
/// What the last look saw, when its time is over.
pub(super) async fn wait_until_healthy(
    working: &mut Working<'_>,
    check: &HealthCheck,
    address: IpAddr,
) -> Result<String, StepFailure> {
    let begun = Instant::now();
    let limit = Duration::from_secs(u64::from(check.timeout_sec));
    let interval = Duration::from_secs(u64::from(check.interval_sec.max(1)));
    let mut looks = 0;
    loop {
        looks += 1;
        let seen = look(working, &check.kind, address).await?;
        match seen {
            Ok(seen) => return Ok(format!("{seen} after {} s", begun.elapsed().as_secs())),
            Err(seen) if begun.elapsed() + interval > limit => {
                return Err(StepFailure::for_good(
                    format!("not healthy after {} s and {looks} looks: {seen}", limit.as_secs()),
                    "read the provisioning log above; the guest is kept, so that you can look inside",
                ));
            }
            Err(_) => tokio::time::sleep(interval).await,
        }
    }
}

/// One look. The outer error ends the waiting: the check itself cannot be carried out.
async fn look(
    working: &mut Working<'_>,
    kind: &HealthKind,
    address: IpAddr,
) -> Result<Result<String, String>, StepFailure> {
    Ok(match kind {
        HealthKind::Http { port, path, status } => {
            let url = format!("http://{}{path}", SocketAddr::new(address, *port));
            match outbound::status_of(&url, LOOK).await {
                Ok(code) if is_healthy(code, status) => Ok(format!("{url} answers {code}")),
                Ok(code) => Err(format!("{url} answers {code}")),
                Err(error) => Err(format!("{url}: {error}")),
            }
        }
        HealthKind::Tcp { port } => {
            let target = SocketAddr::new(address, *port);
            match tokio::time::timeout(LOOK, TcpStream::connect(target)).await {
                Ok(Ok(_)) => Ok(format!("{target} takes connections")),
                Ok(Err(error)) => Err(format!("{target}: {error}")),
                Err(_) => Err(format!("{target}: no answer within {} s", LOOK.as_secs())),
            }
        }
        HealthKind::Command { script } => {
            let status = provision::run_health_script(working).await?;
            if status == 0 {
                Ok(format!("{script} succeeded"))
            } else {
                Err(format!("{script} ended with status {status}"))
            }
        }
    })
}

/// An empty list takes everything from 200 to 399.
fn is_healthy(code: u16, accepted: &[u16]) -> bool {
    if accepted.is_empty() { (200..400).contains(&code) } else { accepted.contains(&code) }
}

#[cfg(test)]
mod test {
    use super::is_healthy;

    #[test]
    fn a_redirect_is_healthy_unless_the_app_says_which_codes_are() {
        assert!(is_healthy(302, &[]));
        assert!(!is_healthy(502, &[]));
        assert!(!is_healthy(302, &[200]));
        assert!(is_healthy(401, &[401]));
    }
}
