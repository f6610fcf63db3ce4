"""Annotation files: outlines of objects in COCO, labelme, YOLO, ImageJ and QuPath formats, and the masks they make."""
