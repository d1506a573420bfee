use proptest::prelude::*;

use super::*;

const A: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const B: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
const C: Mac = Mac([0x52, 0x54, 0, 0, 0, 3]);
const T0: Timestamp = Timestamp(1_000_000);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn at(secs: i64) -> Timestamp {
    Timestamp(T0.0 + secs * 1000)
}

fn config(first: u8, last: u8) -> PoolConfig {
    let subnet = "10.0.0.0/24".parse().expect("a network");
    PoolConfig::new(subnet, (ip(first), ip(last)), ip(1), 600).expect("valid")
}

fn pool(first: u8, last: u8) -> Pool {
    Pool::new(config(first, last), &[], T0)
}

#[test]
fn an_address_goes_from_offer_to_lease_to_free() {
    let mut pool = pool(100, 101);
    assert_eq!(pool.offer(A, None, T0), Some(ip(100)));
    assert_eq!(pool.offer(A, None, at(1)), Some(ip(100)), "a retry gets the same");
    let lease = pool.commit(A, ip(100), at(2)).expect("offered");
    assert_eq!(lease.until, at(602));
    assert_eq!(pool.offer(B, Some(ip(100)), at(3)), Some(ip(101)), "the wanted one is taken");
    assert_eq!(pool.offer(C, None, at(4)), None, "nothing left");
    assert_eq!(pool.commit(A, ip(100), at(300)).map(|l| l.until), Ok(at(900)), "renewed");
    assert_eq!(pool.offer(C, None, at(600)), Some(ip(101)), "the hold for B ran out");
    assert_eq!(pool.leases(at(899)).len(), 1);
    assert!(pool.leases(at(900)).is_empty());
}

#[test]
fn a_machine_comes_back_to_its_address_while_nobody_else_needs_it() {
    let mut pool = pool(100, 102);
    pool.offer(A, None, T0);
    pool.commit(A, ip(100), T0).expect("offered");
    assert_eq!(pool.offer(B, None, at(700)), Some(ip(101)), "the longest unused goes first");
    assert_eq!(pool.offer(A, None, at(700)), Some(ip(100)));
}

#[test]
fn what_belongs_to_another_is_refused_with_the_reason() {
    let mut pool = pool(100, 102);
    pool.offer(A, None, T0);
    pool.commit(A, ip(100), T0).expect("offered");
    assert_eq!(pool.commit(B, ip(100), T0), Err(Refusal::Taken { address: ip(100) }));
    assert_eq!(pool.commit(B, ip(50), T0), Err(Refusal::NotLendable { address: ip(50) }));
    assert_eq!(pool.commit(B, ip(1), T0), Err(Refusal::NotLendable { address: ip(1) }));
    let moved = Refusal::Moved { address: ip(101), own: ip(100) };
    assert_eq!(pool.commit(A, ip(101), T0), Err(moved));
    assert!(pool.commit(B, ip(101), T0).is_ok(), "known from before our restart");
}

#[test]
fn a_released_address_is_free_and_only_its_owner_can_release_it() {
    let mut pool = pool(100, 100);
    pool.offer(A, None, T0);
    pool.commit(A, ip(100), T0).expect("offered");
    assert_eq!(pool.release(B, ip(100), at(1)), None);
    assert_eq!(pool.offer(B, None, at(1)), None);
    let gone = pool.release(A, ip(100), at(2)).expect("its own");
    assert_eq!((gone.state, gone.until), (LeaseState::Released, at(2)));
    assert_eq!(pool.offer(B, None, at(2)), Some(ip(100)));
}

#[test]
fn a_declined_address_is_lent_to_nobody_for_an_hour() {
    let mut pool = pool(100, 101);
    pool.offer(A, None, T0);
    assert_eq!(pool.decline(B, ip(100), T0), None, "not its own");
    pool.commit(A, ip(100), T0).expect("offered");
    let declined = pool.decline(A, ip(100), at(1)).expect("its own");
    assert_eq!((declined.state, declined.until), (LeaseState::Declined, at(3601)));
    assert_eq!(pool.offer(A, None, at(2)), Some(ip(101)));
    assert_eq!(pool.offer(B, Some(ip(100)), at(2)), None);
    assert_eq!(pool.release(A, ip(100), at(3)), None, "it cannot be talked free");
    assert_eq!(pool.offer(B, Some(ip(100)), at(3601)), Some(ip(100)));
}

#[test]
fn a_withdrawn_offer_is_free_at_once_and_a_lease_is_not() {
    let mut pool = pool(100, 100);
    pool.offer(A, None, T0);
    pool.withdraw(A);
    assert_eq!(pool.offer(B, None, T0), Some(ip(100)));
    pool.commit(B, ip(100), T0).expect("offered");
    pool.withdraw(B);
    assert_eq!(pool.offer(A, None, T0), None);
}

#[test]
fn a_reservation_is_for_its_machine_alone() {
    let config = config(100, 101).with_reservations([(A, ip(100)), (B, ip(20))]).expect("valid");
    let mut pool = Pool::new(config, &[], T0);
    assert_eq!(pool.offer(C, Some(ip(100)), T0), Some(ip(101)));
    assert_eq!(pool.offer(A, None, T0), Some(ip(100)));
    assert_eq!(pool.offer(B, Some(ip(101)), T0), Some(ip(20)), "outside the dynamic range");
    let moved = Refusal::Moved { address: ip(101), own: ip(20) };
    pool.withdraw(C);
    assert_eq!(pool.commit(B, ip(101), T0), Err(moved));
    assert_eq!(pool.commit(C, ip(20), T0), Err(Refusal::NotLendable { address: ip(20) }));
}

#[test]
fn leases_survive_a_restart() {
    let mut before = pool(100, 110);
    before.offer(A, None, T0);
    let a = before.commit(A, ip(100), T0).expect("offered");
    before.offer(B, None, T0);
    before.commit(B, ip(101), T0).expect("offered");
    let declined = before.decline(B, ip(101), T0).expect("its own");
    let outside = Lease { address: ip(200), ..a };
    let mut after = Pool::new(config(100, 110), &[a, declined, outside], at(10));
    assert_eq!(after.leases(at(10)), [a]);
    assert_eq!(after.offer(C, Some(ip(100)), at(10)), Some(ip(102)));
    assert_eq!(after.offer(A, None, at(10)), Some(ip(100)));
    let much_later = Pool::new(config(100, 110), &[a], at(601));
    assert!(much_later.leases(at(601)).is_empty());
}

#[test]
fn impossible_pools_are_refused() {
    let net = |text: &str| text.parse().expect("a network");
    let make = |net, first, last, secs| PoolConfig::new(net, (first, last), ip(1), secs);
    let small = net("10.0.0.0/24");
    assert!(matches!(make(small, ip(9), ip(8), 600), Err(InvalidPool::Empty { .. })));
    assert!(matches!(make(small, ip(0), ip(8), 600), Err(InvalidPool::OutsideSubnet { .. })));
    assert!(matches!(make(small, ip(9), ip(255), 600), Err(InvalidPool::OutsideSubnet { .. })));
    assert!(matches!(make(small, ip(8), ip(9), 119), Err(InvalidPool::ShortLease { secs: 119 })));
    let wide = make(net("10.0.0.0/8"), ip(2), Ipv4Addr::new(10, 1, 0, 2), 600);
    assert!(matches!(wide, Err(InvalidPool::TooLarge { .. })));
    let twice = config(100, 101).with_reservations([(A, ip(9)), (B, ip(9))]);
    assert!(matches!(twice, Err(InvalidPool::ReservedTwice { .. })));
    let ours = config(100, 101).with_reservations([(A, ip(1))]);
    assert!(matches!(ours, Err(InvalidPool::ReservedOwn { owner: "server", .. })));
    let router = config(100, 101).with_routing(Some(Ipv4Addr::new(10, 0, 1, 1)), vec![]);
    assert!(matches!(router, Err(InvalidPool::OutsideSubnet { what: "router", .. })));
}

#[test]
fn our_own_and_the_routers_address_are_never_lent() {
    let config = config(1, 4).with_routing(Some(ip(2)), vec![]).expect("valid");
    let mut pool = Pool::new(config, &[], T0);
    let lent: Vec<_> = [A, B, C].iter().map(|&mac| pool.offer(mac, None, T0)).collect();
    assert_eq!(lent, [Some(ip(3)), Some(ip(4)), None]);
}

#[derive(Debug, Clone)]
enum Act {
    Offer(u8, Option<u8>),
    Commit(u8, u8),
    Release(u8, u8),
    Decline(u8, u8),
    Withdraw(u8),
    Wait(i64),
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let mac = || 1u8..8;
    let host = || 98u8..106;
    let act = prop_oneof![
        3 => (mac(), proptest::option::of(host())).prop_map(|(m, h)| Act::Offer(m, h)),
        4 => (mac(), host()).prop_map(|(m, h)| Act::Commit(m, h)),
        1 => (mac(), host()).prop_map(|(m, h)| Act::Release(m, h)),
        1 => (mac(), host()).prop_map(|(m, h)| Act::Decline(m, h)),
        1 => mac().prop_map(Act::Withdraw),
        1 => (1i64..700).prop_map(Act::Wait),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..80)
}

proptest! {
    /// What clients were told, replayed: no address is ever confirmed to two machines at the same time, and a restart
    /// with the durable records changes nothing.
    #[test]
    fn two_machines_never_have_one_address(acts in acts()) {
        let config = || config(100, 104).with_reservations([(Mac([0x52, 0x54, 0, 0, 0, 7]), ip(99))]).expect("valid");
        let mut pool = Pool::new(config(), &[], T0);
        let mut now = T0;
        let mut told: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
        let mac = |m: u8| Mac([0x52, 0x54, 0, 0, 0, m]);
        for act in acts {
            match act {
                Act::Offer(m, h) => {
                    if let Some(address) = pool.offer(mac(m), h.map(ip), now) {
                        let live = told.get(&address).filter(|l| l.until > now && l.state != LeaseState::Released);
                        prop_assert!(live.is_none_or(|l| l.mac == mac(m) && l.state == LeaseState::Bound));
                    }
                }
                Act::Commit(m, h) => {
                    if let Ok(lease) = pool.commit(mac(m), ip(h), now) {
                        let live = told.get(&lease.address).filter(|l| l.until > now && l.state != LeaseState::Released);
                        prop_assert!(live.is_none_or(|l| l.mac == lease.mac && l.state == LeaseState::Bound));
                        prop_assert!((100..=104).contains(&h) || (h == 99 && m == 7));
                        told.insert(lease.address, lease);
                    }
                }
                Act::Release(m, h) => {
                    if let Some(lease) = pool.release(mac(m), ip(h), now) {
                        told.insert(lease.address, lease);
                    }
                }
                Act::Decline(m, h) => {
                    if let Some(lease) = pool.decline(mac(m), ip(h), now) {
                        told.insert(lease.address, lease);
                    }
                }
                Act::Withdraw(m) => pool.withdraw(mac(m)),
                Act::Wait(secs) => now = Timestamp(now.0 + secs * 1000),
                Act::Restart => {
                    let records: Vec<Lease> = told.values().copied().collect();
                    pool = Pool::new(config(), &records, now);
                }
            }
            let leases = pool.leases(now);
            let confirmed: Vec<Lease> = told
                .values()
                .filter(|l| l.state == LeaseState::Bound && l.until > now)
                .copied()
                .collect();
            prop_assert_eq!(&leases, &confirmed, "the pool and the clients agree");
            let owners: BTreeSet<Mac> = leases.iter().map(|l| l.mac).collect();
            prop_assert_eq!(owners.len(), leases.len(), "one address per machine");
            prop_assert_eq!(pool.slots.len(), pool.deadlines.len());
            prop_assert_eq!(pool.free.len(), pool.free_at.len());
            for address in pool.free.values() {
                prop_assert!(!pool.slots.contains_key(address));
            }
        }
    }
}
