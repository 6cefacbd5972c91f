//! azure_storage_blob, Microsoft's own for Rust. It knows tokens and signatures only: a signature of the account is in the URL.

use azure_core::http::{RequestContent, StatusCode, Url};
use azure_storage_blob::models::*;
use azure_storage_blob::{BlobContainerClient, BlobServiceClient};
use clients::told;
use futures::TryStreamExt;
use std::collections::HashMap;

fn service() -> BlobServiceClient {
    let url = Url::parse(&format!("{}?{}", told("BLOBD_BLOB"), told("BLOBD_SAS"))).unwrap();
    BlobServiceClient::new(url, None, None).unwrap()
}

async fn container(name: &str) -> BlobContainerClient {
    let c = service().blob_container_client(&format!("{}-{name}", told("BLOBD_CONTAINER")));
    c.create(None).await.unwrap();
    c
}

fn status<T>(r: Result<T, azure_core::Error>) -> StatusCode {
    r.err().expect("an error").http_status().expect("an answer")
}

#[tokio::test]
async fn blobs() {
    let c = container("blobs").await;
    let b = c.blob_client("a/ä b");
    assert!(!b.exists().await.unwrap());
    assert_eq!(status(b.download(None).await), StatusCode::NotFound);
    let data: Vec<u8> = (0..9u32 << 20).map(|i| (i >> 7) as u8).collect();
    b.upload(RequestContent::from(data.clone()), None).await.unwrap();
    assert_eq!(b.download(None).await.unwrap().body.collect().await.unwrap(), data);
    assert_eq!(status(c.create(None).await), StatusCode::Conflict);

    let blocks = c.blob_client("blocks").block_blob_client();
    for id in [b"1", b"2", b"3"] {
        blocks.stage_block(id, 3, RequestContent::from(id.repeat(3)), None).await.unwrap();
    }
    let list = BlockLookupList { latest: Some(vec![b"3".to_vec(), b"1".to_vec()]), committed: Some(vec![]), uncommitted: Some(vec![]) };
    blocks.commit_block_list(list.try_into().unwrap(), None).await.unwrap();
    assert_eq!(c.blob_client("blocks").download(None).await.unwrap().body.collect().await.unwrap(), &b"333111"[..]);

    let names: Vec<String> = c.list_blobs(None).unwrap().map_ok(|b| b.name.unwrap()).try_collect().await.unwrap();
    assert_eq!(names, ["a/ä b", "blocks"]);
    b.delete(None).await.unwrap();
    assert_eq!(status(b.get_properties(None).await), StatusCode::NotFound);
    c.delete(None).await.unwrap();
}

#[tokio::test]
async fn append_and_pages() {
    let c = container("pages").await;
    let log = c.blob_client("log").append_blob_client();
    log.create(None).await.unwrap();
    for part in ["one,", "two"] {
        log.append_block(RequestContent::from(part.as_bytes().to_vec()), part.len() as u64, None).await.unwrap();
    }
    assert_eq!(c.blob_client("log").download(None).await.unwrap().body.collect().await.unwrap(), "one,two");
    log.seal(None).await.unwrap();
    assert_eq!(status(log.append_block(RequestContent::from(b"x".to_vec()), 1, None).await), StatusCode::Conflict);

    let disk = c.blob_client("disk").page_blob_client();
    disk.create(1 << 20, None).await.unwrap();
    disk.upload_pages(RequestContent::from(vec![7; 1024]), 1024, HttpRange::new(512, 1024), None).await.unwrap();
    disk.clear_pages(HttpRange::new(512, 512), None).await.unwrap();
    disk.resize(2 << 20, None).await.unwrap();
    let bytes = c.blob_client("disk").download(None).await.unwrap().body.collect().await.unwrap();
    assert_eq!((bytes.len(), bytes[1023], bytes[1024], bytes[1536]), (2 << 20, 0, 7, 0));
    c.delete(None).await.unwrap();
}

/// What is said of a blob, and who holds it.
#[tokio::test]
async fn properties_tags_and_leases() {
    let c = container("words").await;
    let words = HashMap::from([("colour".to_string(), "blue".to_string())]);
    c.set_metadata(&words, None).await.unwrap();
    assert_eq!(c.get_properties(None).await.unwrap().metadata().unwrap(), words);
    let options = BlobServiceClientListContainersOptions {
        prefix: Some(told("BLOBD_CONTAINER") + "-words"),
        include: Some(vec![ListContainersIncludeType::Metadata]),
        ..Default::default()
    };
    let found: Vec<_> = service().list_containers(Some(options)).unwrap().try_collect().await.unwrap();
    assert_eq!((found.len(), found[0].metadata.clone().unwrap()), (1, words.clone()));

    let b = c.blob_client("b");
    b.upload(RequestContent::from(b"x".to_vec()), None).await.unwrap();
    b.set_metadata(&words, None).await.unwrap();
    let tags: BlobTags = words.clone().into();
    b.set_tags(tags.try_into().unwrap(), None).await.unwrap();
    let tags: HashMap<String, String> = b.get_tags(None).await.unwrap().into_model().unwrap().into();
    assert_eq!(tags, words);
    let found: Vec<_> = c.find_blobs_by_tags("colour='blue'", None).unwrap().try_collect().await.unwrap();
    assert_eq!(found[0].name.as_deref(), Some("b"));
    b.set_tier(AccessTier::Cool, None).await.unwrap();
    let p = b.get_properties(None).await.unwrap();
    assert_eq!((p.metadata().unwrap(), p.access_tier().unwrap()), (words, Some("Cool".to_string())));

    let id = b.acquire_lease(15, None).await.unwrap().lease_id().unwrap().unwrap();
    assert_eq!(status(b.acquire_lease(15, None).await), StatusCode::Conflict);
    assert_eq!(status(b.delete(None).await), StatusCode::PreconditionFailed);
    b.renew_lease(id.clone(), None).await.unwrap();
    b.release_lease(id, None).await.unwrap();
    b.create_snapshot(None).await.unwrap();
    assert_eq!(status(b.delete(None).await), StatusCode::Conflict);
    service().get_properties(None).await.unwrap().into_model().unwrap();
    c.delete(None).await.unwrap();
}
