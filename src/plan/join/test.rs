use super::*;

#[test]
fn every_step_has_a_valid_id_that_names_it() {
    for step in JoinStep::ALL {
        assert_eq!(JoinStep::from_id(step.id().as_str()), Some(step));
    }
}
