/* What libntfs-3g makes of a volume, as lines of words: an independent reader for the tests.
 *
 *   ntfs_3g IMAGE            the image is opened for reading only
 *
 * Each file that has a base record in use:
 *   file NUMBER SEQUENCE FLAGS LINKS
 *   times CREATED CHANGED RECORD-CHANGED ACCESSED                    from $STANDARD_INFORMATION, 100 ns since 1601
 *   info ATTRIBUTES OWNER SECURITY CHARGED USN                       the last four 0 where it has 48 bytes
 *   name PARENT NAMESPACE NAME ALLOCATED SIZE ATTRIBUTES CREATED CHANGED RECORD-CHANGED ACCESSED
 *   attribute TYPE NAME FLAGS RESIDENT SIZE ALLOCATED INITIALIZED CHECKSUM
 *   reparse BYTES
 *   descriptor BYTES                                                 its security descriptor, wherever that lies
 *   entry REFERENCE NAMESPACE NAME LOOKED-UP                         of a folder: what its index lists, and what a search for
 *                                                                    that name through the index finds
 *   fault NUMBER WHAT                                                what the library does not read
 *
 * Numbers are decimal, but references, types and flags hexadecimal. Names are UTF-16 code units, four hexadecimal digits each,
 * `-` for none, as bytes are two digits each. The checksum is FNV-1a with 64 bits over the content up to SIZE, holes included, `-` where it was not read:
 * $BadClus:$Bad, which is as long as the volume. Ends with `end FILES`; exit code 0 unless the volume is not mounted.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ntfs-3g/types.h>
#include <ntfs-3g/volume.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/mft.h>
#include <ntfs-3g/security.h>
#include <ntfs-3g/logging.h>

#define CHUNK (1 << 20)

typedef unsigned long long number;

static unsigned char chunk[CHUNK];

static void put_units(const ntfschar *units, int count)
{
	if (count == 0)
		putchar('-');
	for (int i = 0; i < count; i++)
		printf("%04x", le16_to_cpu(units[i]));
}

static void fault(number inode, const char *what)
{
	printf("fault %llu %s: %s\n", inode, what, strerror(errno));
}

static uint64_t fnv(uint64_t sum, const unsigned char *bytes, size_t count)
{
	while (count--)
		sum = (sum ^ *bytes++) * 0x100000001b3ULL;
	return sum;
}

static const uint64_t FNV_START = 0xcbf29ce484222325ULL;

/* Whether the whole attribute could be read. */
static int checksum(ntfs_inode *inode, ATTR_RECORD *record, uint64_t *sum)
{
	ntfschar *name = (ntfschar *)((char *)record + le16_to_cpu(record->name_offset));
	ntfs_attr *attribute = ntfs_attr_open(inode, record->type, record->name_length ? name : AT_UNNAMED, record->name_length);
	if (!attribute)
		return 0;
	int good = 1;
	for (s64 at = 0; at < attribute->data_size;) {
		s64 wanted = attribute->data_size - at;
		s64 got = ntfs_attr_pread(attribute, at, wanted < CHUNK ? wanted : CHUNK, chunk);
		if (got <= 0) {
			good = 0;
			break;
		}
		*sum = fnv(*sum, chunk, got);
		at += got;
	}
	ntfs_attr_close(attribute);
	return good;
}

static void standard(ATTR_RECORD *record)
{
	STANDARD_INFORMATION *info = (STANDARD_INFORMATION *)((char *)record + le16_to_cpu(record->value_offset));
	printf("times %llu %llu %llu %llu\n", (number)sle64_to_cpu(info->creation_time),
		(number)sle64_to_cpu(info->last_data_change_time), (number)sle64_to_cpu(info->last_mft_change_time),
		(number)sle64_to_cpu(info->last_access_time));
	int long_form = le32_to_cpu(record->value_length) >= 72;
	printf("info %x %u %u %llu %llu\n", le32_to_cpu(info->file_attributes),
		long_form ? le32_to_cpu(info->owner_id) : 0, long_form ? le32_to_cpu(info->security_id) : 0,
		long_form ? (number)le64_to_cpu(info->quota_charged) : 0, long_form ? (number)le64_to_cpu(info->usn) : 0);
}

static void name_of(ATTR_RECORD *record)
{
	FILE_NAME_ATTR *name = (FILE_NAME_ATTR *)((char *)record + le16_to_cpu(record->value_offset));
	printf("name %llx %u ", (number)le64_to_cpu(name->parent_directory), name->file_name_type);
	put_units((ntfschar *)((char *)name + offsetof(FILE_NAME_ATTR, file_name)), name->file_name_length);
	printf(" %llu %llu %x %llu %llu %llu %llu\n", (number)sle64_to_cpu(name->allocated_size),
		(number)sle64_to_cpu(name->data_size), le32_to_cpu(name->file_attributes),
		(number)sle64_to_cpu(name->creation_time), (number)sle64_to_cpu(name->last_data_change_time),
		(number)sle64_to_cpu(name->last_mft_change_time), (number)sle64_to_cpu(name->last_access_time));
}

static void attribute_of(ntfs_inode *inode, ATTR_RECORD *record)
{
	int resident = !record->non_resident;
	number size = resident ? le32_to_cpu(record->value_length) : (number)sle64_to_cpu(record->data_size);
	number allocated = resident ? le32_to_cpu(record->length) - le16_to_cpu(record->value_offset)
		: (number)sle64_to_cpu(record->allocated_size);
	number initialized = resident ? size : (number)sle64_to_cpu(record->initialized_size);
	/* What is really allocated to a stream with holes. */
	if (!resident && (record->flags & (ATTR_IS_COMPRESSED | ATTR_IS_SPARSE)))
		allocated = sle64_to_cpu(record->compressed_size);
	printf("attribute %x ", le32_to_cpu(record->type));
	put_units((ntfschar *)((char *)record + le16_to_cpu(record->name_offset)), record->name_length);
	printf(" %x %d %llu %llu %llu ", le16_to_cpu(record->flags), resident, size, allocated, initialized);
	uint64_t sum = FNV_START;
	int good = 1;
	if (inode->mft_no == FILE_BadClus && record->name_length) {
		puts("-");
		return;
	}
	if (resident)
		sum = fnv(sum, (unsigned char *)record + le16_to_cpu(record->value_offset), size);
	else
		good = checksum(inode, record, &sum);
	if (good) {
		printf("%016llx\n", (number)sum);
		return;
	}
	puts("-");
	fault(inode->mft_no, "content");
}

static void reparse(ntfs_inode *inode)
{
	s64 len = 0;
	unsigned char *data = ntfs_attr_readall(inode, AT_REPARSE_POINT, AT_UNNAMED, 0, &len);
	if (!data) {
		fault(inode->mft_no, "reparse point");
		return;
	}
	printf("reparse ");
	for (s64 i = 0; i < len; i++)
		printf("%02x", data[i]);
	puts(len ? "" : "-");
	free(data);
}

static void descriptor(ntfs_inode *inode)
{
	static char bytes[1 << 17];
	struct SECURITY_CONTEXT context = { .vol = inode->vol };
	int len = ntfs_get_ntfs_acl(&context, inode, bytes, sizeof bytes);
	if (len <= 0 || len > (int)sizeof bytes) {
		fault(inode->mft_no, "descriptor");
		return;
	}
	printf("descriptor ");
	for (int i = 0; i < len; i++)
		printf("%02x", (unsigned char)bytes[i]);
	puts("");
}

static int entry(void *folder, const ntfschar *name, const int len, const int type, const s64 pos, const MFT_REF file,
	const unsigned kind)
{
	(void)pos;
	(void)kind;
	printf("entry %llx %d ", (number)file, type);
	put_units(name, len);
	/* Every folder lists itself and the one above, which no index holds. */
	int dots = len <= 2 && le16_to_cpu(name[0]) == '.' && le16_to_cpu(name[len - 1]) == '.';
	number found = dots ? (number)file : (number)ntfs_inode_lookup_by_name(folder, name, len);
	printf(" %llx\n", found);
	return 0;
}

static void show(ntfs_inode *inode)
{
	int has_reparse = 0;
	ntfs_attr_search_ctx *search = ntfs_attr_get_search_ctx(inode, NULL);
	if (!search) {
		fault(inode->mft_no, "attributes");
		return;
	}
	while (!ntfs_attr_lookup(AT_UNUSED, NULL, 0, CASE_SENSITIVE, 0, NULL, 0, search)) {
		ATTR_RECORD *record = search->attr;
		if (record->type == AT_END)
			break;
		/* A further extent of an attribute that was shown. */
		if (record->non_resident && record->lowest_vcn)
			continue;
		if (record->type == AT_STANDARD_INFORMATION)
			standard(record);
		else if (record->type == AT_FILE_NAME)
			name_of(record);
		else
			attribute_of(inode, record);
		has_reparse |= record->type == AT_REPARSE_POINT;
	}
	if (errno != ENOENT)
		fault(inode->mft_no, "attributes");
	ntfs_attr_put_search_ctx(search);
	if (has_reparse)
		reparse(inode);
	descriptor(inode);
	if (inode->mrec->flags & MFT_RECORD_IS_DIRECTORY) {
		s64 pos = 0;
		if (ntfs_readdir(inode, &pos, inode, entry))
			fault(inode->mft_no, "folder");
	}
}

int main(int count, char **words)
{
	if (count != 2) {
		fputs("usage: ntfs_3g IMAGE\n", stderr);
		return 2;
	}
	ntfs_log_set_handler(ntfs_log_handler_stderr);
	ntfs_volume *volume = ntfs_mount(words[1], NTFS_MNT_RDONLY | NTFS_MNT_RECOVER | NTFS_MNT_IGNORE_HIBERFILE);
	if (!volume) {
		perror("mount");
		return 1;
	}
	if (ntfs_open_secure(volume))
		fault(FILE_Secure, "$Secure");
	MFT_RECORD *record = malloc(volume->mft_record_size);
	if (!record)
		return 1;
	number files = 0, records = volume->mft_na->initialized_size >> volume->mft_record_size_bits;
	for (number index = 0; index < records; index++) {
		unsigned char bits;
		if (ntfs_attr_pread(volume->mftbmp_na, index / 8, 1, &bits) != 1) {
			fault(index, "bitmap");
			break;
		}
		if (!(bits >> (index % 8) & 1))
			continue;
		/* Not ntfs_file_record_read, which complains of the unused records below 24. */
		if (ntfs_mft_records_read(volume, index, 1, record)) {
			fault(index, "record");
			continue;
		}
		if (!(record->flags & MFT_RECORD_IN_USE) || record->base_mft_record)
			continue;
		ntfs_inode *inode = ntfs_inode_open(volume, MK_MREF(index, le16_to_cpu(record->sequence_number)));
		if (!inode) {
			fault(index, "inode");
			continue;
		}
		printf("file %llu %u %x %u\n", index, le16_to_cpu(record->sequence_number), le16_to_cpu(record->flags),
			le16_to_cpu(record->link_count));
		show(inode);
		if (ntfs_inode_close(inode))
			fault(index, "close");
		files++;
	}
	free(record);
	ntfs_close_secure(volume);
	printf("end %llu\n", files);
	return ntfs_umount(volume, FALSE) ? 1 : 0;
}
