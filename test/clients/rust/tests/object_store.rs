//! object_store (DataFusion, delta-rs, polars, obstore, InfluxDB): its own suite of integration tests, and what that leaves out.

use clients::told;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::integration::*;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use std::time::Duration;

async fn store() -> MicrosoftAzure {
    MicrosoftAzureBuilder::new()
        .with_account(told("BLOBD_ACCOUNT"))
        .with_access_key(told("BLOBD_KEY"))
        .with_container_name(told("BLOBD_CONTAINER"))
        .with_endpoint(told("BLOBD_BLOB"))
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_config(AzureConfigKey::DisableTagging, "false")
        .build()
        .unwrap()
}

/// One after the other, as each begins by emptying the container.
#[tokio::test]
async fn own_suite_and_more() {
    let store = store().await;
    put_get_delete_list(&store).await;
    list_with_offset_exclusivity(&store).await;
    get_opts(&store).await;
    list_uses_directories_correctly(&store).await;
    list_with_delimiter(&store).await;
    rename_and_copy(&store).await;
    copy_if_not_exists(&store).await;
    copy_rename_nonexistent_object(&store).await;
    stream_get(&store).await;
    put_opts(&store, true).await;
    multipart(&store, &store).await;
    multipart_put_part_out_of_order(&store, &store).await;
    multipart_race_condition(&store, false).await;
    multipart_out_of_order(&store).await;
    list_paginated(&store, &store).await;
    put_get_attributes(&store).await;
    delete_stream(&store).await;
    conditional_put(&store).await;
}

/// Deletes in batches, whose boundaries are random.
async fn delete_stream(store: &MicrosoftAzure) {
    let names: Vec<Path> = (0..600).map(|i| Path::from(format!("bulk/{i:04} ä%+&"))).collect();
    for n in &names {
        store.put(n, "x".into()).await.unwrap();
    }
    let missing = Path::from("bulk/none");
    let asked = names.into_iter().chain([missing.clone()]).map(Ok);
    let results: Vec<_> = store.delete_stream(stream::iter(asked).boxed()).collect().await;
    assert_eq!(results.len(), 601);
    for r in results {
        match r {
            Ok(_) => {}
            Err(Error::NotFound { path, .. }) => assert_eq!(path, missing.as_ref()),
            Err(e) => panic!("{e}"),
        }
    }
    assert!(store.list(Some(&Path::from("bulk"))).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

async fn conditional_put(store: &MicrosoftAzure) {
    let lock = Path::from("lock");
    let put = |body: &'static str, mode: PutMode| store.put_opts(&lock, body.into(), PutOptions::from(mode));
    let first = put("1", PutMode::Create).await.unwrap();
    assert!(matches!(put("2", PutMode::Create).await, Err(Error::AlreadyExists { .. })));
    let old = UpdateVersion { e_tag: first.e_tag, version: None };
    put("2", PutMode::Update(old.clone())).await.unwrap();
    assert!(matches!(put("3", PutMode::Update(old)).await, Err(Error::Precondition { .. })));
    assert_eq!(store.get(&lock).await.unwrap().bytes().await.unwrap(), "2");
    let url = store.signed_url("GET".parse().unwrap(), &lock, Duration::from_secs(60)).await.unwrap();
    assert!(url.query().unwrap().contains("sig="));
    store.delete(&lock).await.unwrap();
}
