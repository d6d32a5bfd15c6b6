//! The routes of `/v1/answers…`, `/v1/questions` and `/v1/user/verify`.

use axum::extract::{Extension, State};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::{Actor, AnswersChange, DefineWish, SaidAnswer};
use crate::admin::api::{
    AnswersView, ApiError, AskRequest, AskView, DefineAnswersRequest, DefinedAnswers, ErrorKind, QuestionsRequest,
    QuestionsView, UserRef, VerifiedUser, VerifyUserRequest,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::clock;
use crate::engine::questions::answers::NewAnswer;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/questions", get(questions))
        .route("/v1/answers", get(show))
        .route("/v1/answers/define", post(define))
        .route("/v1/answers/lock", changed_by(AnswersChange::Lock))
        .route("/v1/answers/unlock", changed_by(AnswersChange::Unlock))
        .route("/v1/answers/must-update", changed_by(AnswersChange::MustUpdate))
        .route("/v1/answers/reconfirm", changed_by(AnswersChange::Reconfirm))
        .route("/v1/answers/unregister", changed_by(AnswersChange::Unregister))
        .route("/v1/user/verify", get(ask).post(verify))
}

async fn questions(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<QuestionsRequest>,
) -> Answer<QuestionsView> {
    authorize(&operator, Verb::ReadAnswers, Target::Nobody)?;
    Ok(Json(state.accounts.questions(request.language.as_deref())))
}

async fn show(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<UserRef>,
) -> Answer<AnswersView> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ReadAnswers, &request.user, directory)
        .await?;
    Ok(Json(state.accounts.answers(&subject, clock::now()).await?))
}

async fn define(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DefineAnswersRequest>,
) -> Answer<DefinedAnswers> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::DefineAnswers, &request.user, directory)
        .await?;
    let given = request.answers.into_iter().map(|given| NewAnswer {
        question: given.question,
        own: given.own,
        answer: given.answer,
    });
    let given: Vec<NewAnswer> = given.collect();
    let wish = DefineWish {
        replace: request.replace,
        check: request.check,
    };
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.define_answers(&subject, &given, wish, by).await?))
}

fn changed_by(change: AnswersChange) -> MethodRouter<AdminState> {
    let verb = match change {
        AnswersChange::Unlock | AnswersChange::Reconfirm => Verb::DefineAnswers,
        AnswersChange::Lock | AnswersChange::MustUpdate | AnswersChange::Unregister => Verb::ChangeAnswers,
    };
    post(
        async move |State(state): State<AdminState>,
                    Extension(operator): Extension<Operator>,
                    Body(request): Body<UserRef>|
                    -> Answer<AnswersView> {
            let directory = request.directory.as_deref();
            let subject = state.person(&operator, verb, &request.user, directory).await?;
            let by = Actor::now(&operator.name);
            Ok(Json(state.accounts.change_answers(&subject, change, by).await?))
        },
    )
}

async fn ask(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<AskRequest>,
) -> Answer<AskView> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::VerifyUser, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    let asked = state
        .accounts
        .verification_questions(&subject, request.language.as_deref(), by)
        .await?;
    Ok(Json(asked))
}

async fn verify(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<VerifyUserRequest>,
) -> Answer<VerifiedUser> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::VerifyUser, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    let verified = match (&request.code, request.answers) {
        (Some(code), None) => state.accounts.verify_code(&subject, code, by).await?,
        (None, Some(answers)) => {
            let said = answers.into_iter().map(|said| SaidAnswer {
                question: said.question,
                answer: said.answer,
            });
            let said: Vec<SaidAnswer> = said.collect();
            state.accounts.verify_answers(&subject, &said, by).await?
        }
        (Some(_), Some(_)) | (None, None) => {
            let error = "either `code` or `answers` says what the caller is known by";
            return Err(ApiError::new(ErrorKind::Invalid, error));
        }
    };
    Ok(Json(verified))
}
