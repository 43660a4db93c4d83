//! The calls, each: who is it, may they, then the noun's own file.

use super::{Api, parse};
use slipway_core::Command;
use slipway_core::state::{Intent, Role};
use slipway_proto::api::platform_server::Platform;
use slipway_proto::api::*;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Platform for Api {
    async fn who_am_i(&self, request: Request<Empty>) -> Answer<Principal> {
        Ok(Response::new(self.caller(&request)?.principal()))
    }
    async fn authenticate_key(&self, request: Request<AuthenticateKeyRequest>) -> Answer<Principal> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::authenticate_key(self, &caller, &request.get_ref().public_key)?))
    }
    async fn authenticate_token(&self, request: Request<AuthenticateTokenRequest>) -> Answer<Principal> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::authenticate_token(self, &caller, &request.get_ref().token)?))
    }

    async fn create_project(&self, request: Request<CreateProjectRequest>) -> Answer<Project> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::create_project(self, &caller, request.into_inner()).await?))
    }
    async fn list_projects(&self, request: Request<Empty>) -> Answer<ProjectList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_projects(self, &caller)))
    }
    async fn get_project(&self, request: Request<ProjectRequest>) -> Answer<Project> {
        let caller = self.caller(&request)?;
        Ok(Response::new(self.project(&caller, &parse(&request.get_ref().project)?)?))
    }
    async fn update_project(&self, request: Request<UpdateProjectRequest>) -> Answer<Project> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::update_project(self, &caller, request.into_inner()).await?))
    }
    async fn delete_project(&self, request: Request<ProjectRequest>) -> Answer<Empty> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::delete_project(self, &caller, &parse(&request.get_ref().project)?).await?))
    }
    async fn grant_access(&self, request: Request<GrantAccessRequest>) -> Answer<Empty> {
        let caller = self.caller(&request)?;
        Ok(Response::new(self.grant(&caller, request.into_inner()).await?))
    }

    async fn add_key(&self, request: Request<AddKeyRequest>) -> Answer<Key> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::add_key(self, &caller, request.into_inner()).await?))
    }
    async fn list_keys(&self, request: Request<Empty>) -> Answer<KeyList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_keys(self, &caller)))
    }
    async fn remove_key(&self, request: Request<IdRequest>) -> Answer<Empty> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::remove_key(self, &caller, request.into_inner().id).await?))
    }
    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<Token> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::create_token(self, &caller, request.into_inner()).await?))
    }
    async fn list_tokens(&self, request: Request<Empty>) -> Answer<TokenList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_tokens(self, &caller)))
    }
    async fn revoke_token(&self, request: Request<IdRequest>) -> Answer<Empty> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::revoke_token(self, &caller, request.into_inner().id).await?))
    }

    async fn list_variables(&self, request: Request<VariableScope>) -> Answer<VariableList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_variables(self, &caller, request.into_inner())?))
    }
    async fn set_variable(&self, request: Request<SetVariableRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::set_variable(self, &caller, request.into_inner()).await?))
    }
    async fn delete_variable(&self, request: Request<DeleteVariableRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::delete_variable(self, &caller, request.into_inner()).await?))
    }

    async fn get_repository(&self, request: Request<ProjectRequest>) -> Answer<Repository> {
        let caller = self.caller(&request)?;
        Ok(Response::new(self.repository(&caller, &parse(&request.get_ref().project)?)?))
    }
    async fn prepare_push(&self, request: Request<PreparePushRequest>) -> Answer<PushContext> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::prepare_push(self, caller, request.into_inner()).await?))
    }
    async fn record_push(&self, request: Request<RecordPushRequest>) -> Answer<RecordPushReply> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::record_push(self, caller, request.into_inner()).await?))
    }

    async fn list_environments(&self, request: Request<ProjectRequest>) -> Answer<EnvironmentList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_environments(self, &caller, &parse(&request.get_ref().project)?)?))
    }
    async fn get_environment(&self, request: Request<EnvironmentRequest>) -> Answer<Environment> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Viewer)?;
        let message = self.environment_message(&id).ok_or_else(|| Status::not_found("it is gone"))?;
        Ok(Response::new(message))
    }
    async fn activate_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Admin)?;
        Ok(Response::new(self.operate(&caller, id, Intent::Activate).await?))
    }
    async fn deactivate_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Admin)?;
        Ok(Response::new(self.operate(&caller, id, Intent::Deactivate).await?))
    }
    async fn delete_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Admin)?;
        Ok(Response::new(self.operate(&caller, id, Intent::Delete).await?))
    }
    async fn redeploy_environment(&self, request: Request<EnvironmentRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Admin)?;
        Ok(Response::new(self.operate(&caller, id, Intent::Redeploy).await?))
    }
    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<ActivityRef> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::rollback(self, &caller, request.into_inner()).await?))
    }
    async fn list_releases(&self, request: Request<EnvironmentRequest>) -> Answer<ReleaseList> {
        let caller = self.caller(&request)?;
        let id = self.environment_of(&caller, request.get_ref(), Role::Viewer)?;
        Ok(Response::new(Api::list_releases(self, &id)))
    }

    async fn list_activities(&self, request: Request<ListActivitiesRequest>) -> Answer<ActivityList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_activities(self, &caller, request.get_ref())?))
    }
    async fn get_activity(&self, request: Request<ActivityRequest>) -> Answer<Activity> {
        let caller = self.caller(&request)?;
        let id = self.activity_id(&caller, &request.get_ref().activity, Role::Viewer)?;
        Ok(Response::new(self.activity(&id)?))
    }
    type FollowLogStream = ReceiverStream<Result<LogRecord, Status>>;
    async fn follow_log(&self, request: Request<FollowLogRequest>) -> Answer<Self::FollowLogStream> {
        let caller = self.caller(&request)?;
        let id = self.activity_id(&caller, &request.get_ref().activity, Role::Viewer)?;
        Ok(Response::new(ReceiverStream::new(self.follow(id, request.get_ref())?)))
    }
    async fn cancel_activity(&self, request: Request<ActivityRequest>) -> Answer<Activity> {
        let caller = self.caller(&request)?;
        let id = self.activity_id(&caller, &request.get_ref().activity, Role::Contributor)?;
        Ok(Response::new(self.cancel(&id).await?))
    }

    async fn list_nodes(&self, request: Request<Empty>) -> Answer<NodeList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::list_nodes(self, &caller)?))
    }
    async fn drain_worker(&self, request: Request<IdRequest>) -> Answer<Empty> {
        let caller = self.caller(&request)?;
        caller.platform_admin()?;
        let id = parse(&request.get_ref().id)?;
        self.ask(Command::DrainWorker { id }).await?;
        Ok(Response::new(Empty {}))
    }
    async fn counters(&self, request: Request<Empty>) -> Answer<CounterList> {
        let caller = self.caller(&request)?;
        Ok(Response::new(Api::counters(self, &caller)?))
    }
}
