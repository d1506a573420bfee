use proptest::prelude::*;

use super::*;

const EVENTS: [HostEvent; 8] = [
    E::Armed,
    E::ScriptFetched,
    E::AnswerServed,
    E::InstalledReported,
    E::PhonedHome,
    E::JoinStarted,
    E::JoinVerified,
    E::Stopped,
];

#[test]
fn no_pair_is_both_a_move_and_a_repeat() {
    for (i, (s, e, _)) in MOVES.iter().enumerate() {
        assert!(!REPEATS.contains(&(*s, *e)), "{s} {e}");
        assert!(!MOVES[..i].iter().any(|(t, f, _)| (t, f) == (s, e)), "{s} {e} twice");
    }
}

#[test]
fn every_busy_state_can_be_stopped_and_nothing_else_can() {
    for state in HostState::ALL {
        let stopped = transition(state, E::Stopped);
        assert_eq!(stopped == Ok(Transition::To(S::Failed)), state.is_busy(), "{state}");
    }
}

#[test]
fn an_answer_moves_a_host_only_from_a_booted_script() {
    for state in HostState::ALL {
        let served = transition(state, E::AnswerServed);
        assert_eq!(served.is_ok(), state == S::PxeBooted, "{state}: {served:?}");
    }
}

#[test]
fn the_documented_table_is_the_table() {
    let mut text = String::from(
        "# Host states\n\nGenerated from `src/domain/host.rs` by the test `the_documented_table_is_the_table`; do not edit.\n\n\
         Rows are the state a host is in, columns what happens to it. `=`: the message was seen before and changes\n\
         nothing. Empty: refused with a reason; nothing changes.\n\n|",
    );
    for event in EVENTS {
        text.push_str(&format!(" | {event}"));
    }
    text.push_str(" |\n|---");
    text.push_str(&"|---".repeat(EVENTS.len()));
    text.push_str("|\n");
    for state in HostState::ALL {
        text.push_str(&format!("| **{state}**"));
        for event in EVENTS {
            text.push_str(&match transition(state, event) {
                Ok(Transition::To(next)) => format!(" | {next}"),
                Ok(Transition::Repeated) => " | =".to_owned(),
                Err(_) => " |".to_owned(),
            });
        }
        text.push_str(" |\n");
    }
    crate::golden::assert_file("docs/host-states.md", &text);
}

proptest! {
    /// Rule 1: between two answers there is always a rebuild that an operator asked for.
    #[test]
    fn one_arming_gives_at_most_one_answer(events in prop::collection::vec(0usize..EVENTS.len(), 0..200)) {
        let mut state = S::Registered;
        let mut answers_since_armed = 0;
        let mut ever_armed = false;
        for event in events.into_iter().map(|i| EVENTS[i]) {
            match transition(state, event) {
                Ok(Transition::To(next)) => {
                    if event == E::Armed { answers_since_armed = 0; ever_armed = true; }
                    if event == E::AnswerServed { answers_since_armed += 1; }
                    state = next;
                }
                Ok(Transition::Repeated) => {}
                Err(denied) => prop_assert!(!denied.reason.is_empty()),
            }
            prop_assert!(answers_since_armed <= 1);
            prop_assert!(ever_armed || state == S::Registered);
            prop_assert!(!(state.is_armed() && answers_since_armed > 0), "an answered host is never armed");
        }
    }

    /// Rule 4: the same message twice changes nothing.
    #[test]
    fn a_repeated_event_never_moves_the_host(events in prop::collection::vec(0usize..EVENTS.len(), 0..200)) {
        let mut state = S::Registered;
        for event in events.into_iter().map(|i| EVENTS[i]) {
            if let Ok(Transition::To(next)) = transition(state, event) {
                prop_assert!(!matches!(transition(next, event), Ok(Transition::To(_))), "{next} {event}");
                state = next;
            }
        }
    }
}
