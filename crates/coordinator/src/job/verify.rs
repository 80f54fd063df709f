//! Whether a result is what its signer said, before the actor sees it: signature, signer, job,
//! and what the uploaded bytes are. Whether it counts is the scheduler's matter.

use ed25519_dalek::{Signature, VerifyingKey};
use potluck_protocol::{ErrorCode, Refusal, SignedStatement, Statement, StatementError, VolunteerKey};
use potluck_scheduler::UpdateFacts;

use super::Job;
use crate::problem::Problem;

/// A statement that its signer did make.
pub(crate) type Verified = (Statement, SignedStatement, Option<UpdateFacts>);

/// Verifies a result that came over the connection of `volunteer`.
pub(crate) async fn verify(job: &Job, volunteer: VolunteerKey, signed: SignedStatement) -> Result<Verified, Refusal> {
    let statement = check(job, volunteer, &signed).map_err(|problem| problem.refusal())?;
    let Some(id) = statement.update else { return Ok((statement, signed, None)) };
    let facts = match job.uploads().find(statement.task, id) {
        Some(facts) => Some(facts),
        None => job.recall_upload(&statement, volunteer, id).await.map_err(|problem| problem.refusal())?,
    };
    Ok((statement, signed, facts))
}

fn check(job: &Job, volunteer: VolunteerKey, signed: &SignedStatement) -> Result<Statement, Problem> {
    let (statement, signature) = signed.parse().map_err(|error| {
        let code = match error {
            StatementError::TooLong { .. } => ErrorCode::TooLarge,
            StatementError::SignatureNotHex => ErrorCode::BadSignature,
            _ => ErrorCode::UnknownMessage,
        };
        Problem::new(code, error.to_string())
    })?;
    if statement.volunteer != volunteer {
        return Err(Problem::new(ErrorCode::BadSignature, "the signer is not who said hello"));
    }
    // Strict: keys and signatures of small order, which verify for many messages, are refused.
    let verified = VerifyingKey::from_bytes(&volunteer.0).and_then(|key| {
        let message = SignedStatement::message(&signed.statement);
        key.verify_strict(&message, &Signature::from_bytes(&signature))
    });
    if verified.is_err() {
        return Err(Problem::new(ErrorCode::BadSignature, "the signature does not verify"));
    }
    if statement.job != *job.name() {
        return Err(Problem::new(ErrorCode::ResultMismatch, format!("the statement is about job {}", statement.job)));
    }
    Ok(statement)
}
